//! The OpenAPI document, generated from the handlers that answer.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses, OpenApi, PartialSchema, ToSchema,
    openapi::{
        Content, HeaderBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder,
        path::{Operation, ParameterBuilder, ParameterIn, PathItem},
        schema::{Object, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Shared, addons, billing, billing_events, check, customer_view, deploy, event_log, events_in, exports,
    feeds, grants, keys, nodes, offers, operations, overrides, policy, policy_diff, problem::ProblemView,
    refusals, rights, shadow, standing, statements, subscription, subscription_view, tenants, tokens,
    upcoming, usage, webhook_calls, webhook_messages,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Plangate admin API",
        description = "Tenants, their plans and keys, what they may do and what they used. Every error is a problem document (RFC 9457)."
    ),
    components(schemas(ProblemView))
)]
struct Api;

const TOKEN: &str = "token";

/// All routes of the API with their part of the document.
pub(super) fn routes() -> OpenApiRouter<Shared> {
    money(OpenApiRouter::with_openapi(Api::openapi()))
        .routes(routes!(tenants::list_tenants))
        .routes(routes!(tenants::get_tenant, tenants::put_tenant, tenants::delete_tenant))
        .routes(routes!(tenants::suspend_tenant))
        .routes(routes!(tenants::resume_tenant))
        .routes(routes!(
            subscription_view::get_subscription,
            subscription::put_subscription,
            standing::cancel
        ))
        .routes(routes!(standing::undo))
        .routes(routes!(standing::pause))
        .routes(routes!(standing::resume))
        .routes(routes!(standing::past_due))
        .routes(routes!(standing::paid))
        .routes(routes!(upcoming::list_upcoming))
        .routes(routes!(grants::create_grant, grants::list_grants))
        .routes(routes!(grants::void_grant))
        .routes(routes!(addons::list_addons))
        .routes(routes!(addons::put_addon, addons::delete_addon))
        .routes(routes!(offers::list_plans))
        .routes(routes!(offers::list_offered_addons))
        .routes(routes!(overrides::put_overrides))
        .routes(routes!(keys::create_key, keys::list_keys))
        .routes(routes!(keys::revoke_key))
        .routes(routes!(rights::get_rights))
        .routes(routes!(usage::get_usage))
        .routes(routes!(customer_view::get_view))
        .routes(routes!(check::check))
        .routes(routes!(refusals::list_refusals))
        .routes(routes!(refusals::get_refusal))
        .routes(routes!(policy::get_policy))
        .routes(routes!(policy::list_revisions))
        .routes(routes!(policy::get_revision))
        .routes(routes!(shadow::get_shadow))
        .routes(routes!(deploy::apply))
        .routes(routes!(deploy::promote))
        .routes(routes!(deploy::discard))
        .routes(routes!(deploy::roll_back))
        .routes(routes!(policy_diff::diff_policies))
        .routes(routes!(nodes::list_nodes))
        .routes(routes!(nodes::declare_lost))
        .routes(routes!(feeds::list_changes))
        .routes(routes!(feeds::list_audit))
        .routes(routes!(event_log::list_events))
        .routes(routes!(feeds::get_audit_head))
        .routes(routes!(tokens::create_token, tokens::list_tokens))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(operations::healthz))
        .routes(routes!(operations::readyz))
        .routes(routes!(operations::metrics))
        .routes(routes!(operations::openapi_json))
}

/// Usage, statements, the billing system, and whom facts are told to.
fn money(router: OpenApiRouter<Shared>) -> OpenApiRouter<Shared> {
    router
        .routes(routes!(billing::get_billing, billing::put_billing, billing::delete_billing))
        .routes(routes!(billing_events::list_events))
        .routes(routes!(billing_events::get_event))
        .routes(routes!(billing_events::replay_event))
        .routes(routes!(billing_events::replay_events))
        .routes(routes!(events_in::send_usage_events))
        .routes(routes!(statements::list_statements))
        .routes(routes!(statements::get_statement))
        .routes(routes!(exports::list_exports))
        .routes(routes!(exports::retry_export))
        .routes(routes!(webhook_calls::create_webhook, webhook_calls::list_webhooks))
        .routes(routes!(
            webhook_calls::get_webhook,
            webhook_calls::put_webhook,
            webhook_calls::delete_webhook
        ))
        .routes(routes!(webhook_calls::rotate_secret))
        .routes(routes!(webhook_messages::list_deliveries))
        .routes(routes!(webhook_messages::replay_delivery))
        .routes(routes!(webhook_messages::replay_deliveries))
        .routes(routes!(webhook_messages::test_webhook))
}

/// The document.
pub fn document() -> Document {
    let (_, mut document) = routes().split_for_parts();
    let scheme = SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token that PLANGATE_ADMIN_TOKEN sets, or one that `POST /v1/tokens` made"))
            .build(),
    );
    document.components.get_or_insert_default().security_schemes.insert(TOKEN.to_owned(), RefOr::T(scheme));
    document.security = Some(vec![SecurityRequirement::new(TOKEN, [""; 0])]);
    for item in document.paths.paths.values_mut() {
        describe_writes(item);
    }
    document
}

/// What all writes share is added to each: `check` is the one POST that changes nothing.
fn describe_writes(item: &mut PathItem) {
    let writes = [item.put.as_mut(), item.post.as_mut(), item.delete.as_mut()];
    for write in
        writes.into_iter().flatten().filter(|operation| operation.responses.responses.contains_key("409"))
    {
        add_parameter(
            write,
            "wait",
            ParameterIn::Query,
            "`applied` (the default): answer when the change is in force; `none`: at once",
        );
        add_parameter(
            write,
            "Idempotency-Key",
            ParameterIn::Header,
            "1 to 255 visible characters. The same key with the same request has one effect; a repeated answer carries `Idempotency-Replayed: true`",
        );
    }
}

fn add_parameter(operation: &mut Operation, name: &str, place: ParameterIn, description: &str) {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .description(Some(description))
        .schema(Some(Object::with_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(ProblemView::name());
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", Content::new(Some(schema)))
        .build()
}

fn with_header(mut response: Response, name: &str, description: &str) -> Response {
    let header = HeaderBuilder::new().schema(Some(String::schema())).description(Some(description)).build();
    response.headers.insert(name.to_owned(), RefOr::T(header));
    response
}

fn common() -> BTreeMap<String, RefOr<Response>> {
    let unauthorized = with_header(problem("No token, or not the right one"), "WWW-Authenticate", "Bearer");
    let away = with_header(problem("The database is not available"), "Retry-After", "Seconds");
    [
        ("400", problem("A field, parameter or header is not valid; `pointer` names the field")),
        ("401", unauthorized),
        ("403", problem("The token's role does not allow it; `detail` says which role does")),
        ("500", problem("A defect")),
        ("503", away),
    ]
    .into_iter()
    .map(|(status, response)| (status.to_owned(), RefOr::T(response)))
    .collect()
}

/// What may go wrong with a call that changes nothing.
pub(super) struct ReadErrors;

impl IntoResponses for ReadErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = common();
        responses.insert(
            "404".to_owned(),
            RefOr::T(problem("There is no such tenant, or what was asked for is not there")),
        );
        responses
    }
}

/// What may go wrong with a write.
pub(super) struct WriteErrors;

impl IntoResponses for WriteErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let more = [
            ("404", "There is no such tenant, key, grant, add-on or node"),
            ("408", "The body did not arrive in time"),
            ("409", "The Idempotency-Key was used for another request, or a state forbids it"),
            ("413", "The body is over 256 KiB"),
            ("415", "The body is not JSON by its own account"),
            (
                "422",
                "Well-formed, and impossible: a name that the policies lack, a number out of range, or an instant that has passed",
            ),
        ];
        let mut responses = common();
        responses.extend(more.map(|(status, text)| (status.to_owned(), RefOr::T(problem(text)))));
        responses
    }
}
