//! One page of a list.

use serde::Serialize;
use utoipa::ToSchema;

use crate::cursor::Cursor;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) page: PageLinks,
}

/// Where the pages beside this one are.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageLinks {
    /// Cursor of the page behind this one; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
    /// Cursor of the page in front of this one; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    prev: Option<String>,
    has_next: bool,
    has_prev: bool,
}

impl PageLinks {
    /// Links to the cursors that there are.
    pub(crate) fn new<C: Cursor>(prev: Option<C>, next: Option<C>) -> Self {
        Self {
            has_next: next.is_some(),
            has_prev: prev.is_some(),
            next: next.map(|cursor| cursor.encode()),
            prev: prev.map(|cursor| cursor.encode()),
        }
    }
}

impl<T> Page<T> {
    /// A page of a list that is read in one direction. `rows` has one more than `limit` where there are more; the
    /// cursor of a page is that of its last row.
    pub(crate) fn forward<R, C: Cursor>(mut rows: Vec<R>, limit: u32, cursor: impl Fn(&R) -> C) -> Self
    where
        T: From<R>,
    {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(cursor);
        Self { items: rows.into_iter().map(T::from).collect(), page: PageLinks::new(None, next) }
    }
}

#[cfg(test)]
mod tests {
    use chat_domain::UserId;
    use uuid::Uuid;

    use super::*;

    fn cursor(row: &u64) -> UserId {
        UserId::from(Uuid::from_u128(u128::from(*row)))
    }

    #[test]
    fn a_row_too_many_means_a_next_page() {
        let page = Page::<u64>::forward(vec![1, 2, 3], 2, cursor);
        assert_eq!(page.items, [1, 2]);
        assert_eq!(page.page, PageLinks::new(None, Some(cursor(&2))));
    }

    #[test]
    fn the_last_page_has_no_next() {
        let page = Page::<u64>::forward(vec![1, 2], 2, cursor);
        assert_eq!(page.items, [1, 2]);
        assert_eq!(page.page, PageLinks::default());
    }
}
