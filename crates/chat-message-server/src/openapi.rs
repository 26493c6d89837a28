//! The OpenAPI document: what stands around the routes, and the answers that every route may give.

use common_server::{FieldError, Problem};
use utoipa::{
    OpenApi,
    openapi::{
        Components, ContentBuilder, Info, OpenApi as Document, RefOr, Response, ResponseBuilder,
        path::{Operation, PathItem},
        schema::Ref,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(
    components(schemas(Problem, FieldError)),
    tags(
        (name = "messages", description = "Send and read"),
        (name = "channels", description = "What people talk in, and its log"),
        (name = "members", description = "Who is in a channel"),
        (name = "users", description = "Who people are"),
        (name = "admin", description = "For the role ADMIN"),
    ),
)]
struct Head;

/// The document without its routes.
pub(crate) fn head() -> Document {
    let mut document = Head::openapi();
    document.info = Info::builder()
        .title("Chat message API")
        .version("1")
        .description(Some(include_str!("openapi/about.md")))
        .build();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    document.components.get_or_insert_with(Components::new).add_security_scheme(BEARER, SecurityScheme::Http(bearer));
    document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
    document
}

/// Adds to each route what all of its kind may answer, and the problem body to each error.
pub(crate) fn complete(mut document: Document) -> Document {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            add_common_answers(operation);
            let errors = operation.responses.responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5']));
            for (_, response) in errors {
                if let RefOr::T(response) = response {
                    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
                    response.content.insert("application/problem+json".to_owned(), problem.into());
                }
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

fn add_common_answers(operation: &mut Operation) {
    let public = operation.security.is_some();
    if public {
        return;
    }
    let mut add = |status: &str, codes: &str| {
        let response = || RefOr::T(described(codes));
        operation.responses.responses.entry(status.to_owned()).or_insert_with(response);
    };
    if operation.request_body.is_some() {
        add("400", "`MALFORMED_JSON`, `INVALID_BODY`, `INVALID_PARAMETER`, `IDEMPOTENCY_KEY_MISMATCH`");
        add("413", "`BODY_TOO_LARGE`");
        add("415", "`UNSUPPORTED_MEDIA_TYPE`");
    }
    add("400", "`INVALID_PARAMETER`, `INVALID_CURSOR`");
    add("401", "`TOKEN_MISSING`, `TOKEN_INVALID`, `TOKEN_EXPIRED`, `TOKEN_NOT_YET_VALID`, `TOKEN_REVOKED`");
    add("403", "`USER_NOT_ACTIVE`, `FORBIDDEN`");
    add("429", "`RATE_LIMITED`");
    add("500", "`INTERNAL`");
    add("503", "`STORAGE_UNAVAILABLE`, `OVERLOADED`, `TIMEOUT`, `SHUTTING_DOWN`");
}

fn described(codes: &str) -> Response {
    ResponseBuilder::new().description(codes).build()
}
