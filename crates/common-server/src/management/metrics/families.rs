//! Reads what the registry writes: OpenMetrics text. It is the one door to all metrics, those of collectors included.

/// All series of one name.
#[derive(Debug, Default)]
pub(in crate::management) struct Family<'t> {
    /// Without a suffix such as `_total`.
    pub(in crate::management) name: &'t str,
    pub(in crate::management) help: &'t str,
    pub(in crate::management) kind: &'t str,
    pub(in crate::management) samples: Vec<Sample<'t>>,
}

/// One line with a value.
#[derive(Debug)]
pub(in crate::management) struct Sample<'t> {
    /// What the name of the series has after that of the family, such as `_total`, `_sum` or nothing.
    pub(in crate::management) suffix: &'t str,
    pub(in crate::management) labels: Vec<(&'t str, String)>,
    pub(in crate::management) value: f64,
    /// The line, without an exemplar.
    pub(in crate::management) line: &'t str,
}

/// The families in their order. A line that makes no sense is left out.
pub(in crate::management) fn read(text: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = described(line, "# HELP ") {
            families.push(Family { name, help, ..Family::default() });
            continue;
        }
        let Some(family) = families.last_mut() else { continue };
        if let Some((_, kind)) = described(line, "# TYPE ") {
            family.kind = kind;
        } else if !line.starts_with('#') {
            family.samples.extend(Sample::read(family.name, line));
        }
    }
    families
}

fn described<'t>(line: &'t str, what: &str) -> Option<(&'t str, &'t str)> {
    line.strip_prefix(what)?.split_once(' ')
}

impl<'t> Sample<'t> {
    fn read(family: &str, line: &'t str) -> Option<Self> {
        let rest = line.strip_prefix(family)?;
        let (suffix, rest) = rest.split_at(rest.find(['{', ' '])?);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = rest.split_ascii_whitespace().next()?;
        let end = line.len() - rest.len() + rest.find(value)? + value.len();
        Some(Self { suffix, labels, value: value.parse().ok()?, line: &line[..end] })
    }
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((name, value));
        rest = after;
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped => escaped,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        encoding::text::encode,
        metrics::{counter::Counter, family::Family as Labelled, histogram::Histogram},
        registry::Registry,
    };
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_histogram_is_a_sum_a_count_and_buckets() {
        let mut registry = Registry::default();
        let histogram = Histogram::new([1.0]);
        histogram.observe(0.5);
        registry.sub_registry_with_prefix("app").register("size", "How big", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();

        let families = read(&text);
        let [family] = &families[..] else { panic!("one family") };
        assert_eq!((family.name, family.kind, family.help), ("app_size", "histogram", "How big."));
        let samples: Vec<_> = family.samples.iter().map(|it| (it.suffix, it.labels.len(), it.value)).collect();
        assert_eq!(samples, [("_sum", 0, 0.5), ("_count", 0, 1.0), ("_bucket", 1, 1.0), ("_bucket", 1, 1.0)]);
    }

    proptest! {
        #[test]
        fn any_label_comes_back(value in any::<String>(), other in "[\\\\\"\n{}#, a]{0,9}", count in 0_u32..) {
            let mut registry = Registry::default();
            let counters = Labelled::<Vec<(String, String)>, Counter>::default();
            let labels = vec![("one".to_owned(), value.clone()), ("two".to_owned(), other.clone())];
            counters.get_or_create(&labels).inc_by(count.into());
            registry.register("hits", "Hits", counters);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();

            // Line ends other than \n are not escaped, and none but \n ends a line.
            let families = read(&text);
            let sample = &families[0].samples[0];
            prop_assert_eq!(&sample.labels, &[("one", value), ("two", other)]);
            prop_assert_eq!((sample.suffix, sample.value), ("_total", f64::from(count)));
        }

        #[test]
        fn any_text_is_taken(text in any::<String>(), after in any::<String>()) {
            read(&text);
            read(&format!("# HELP a b\n# TYPE a counter\na{after}"));
        }
    }
}
