//! The tour that the demo prints: lines to copy, and what each will say.

use super::{Failure, scene::Scene};
use crate::cli::output;

/// Prints the tour.
pub(super) fn print(scene: &Scene) -> Result<(), Failure> {
    output::write(text(scene).as_bytes())
}

fn text(scene: &Scene) -> String {
    let (gateway, admin) = (scene.node.data_address, scene.node.admin_address);
    let (big, small, token) = (&scene.big, &scene.small, &scene.admin_token);
    format!(
        r#"
Plangate is running in front of a small chat service.

  gateway    http://{gateway}
  admin API  http://{admin}
  tenants    {big_name} (plan {big_plan}), {small_name} (plan {small_plan}, one request left this month)

Copy these into another terminal, one after the other.

1. A request that passes: {big_name} reads its messages. Note the RateLimit headers.

   curl -i http://{gateway}/v1/messages -H 'x-api-key: {big_key}'

2. A feature that the plan lacks: 403, and the plans that have it. It costs {small_name} nothing.

   curl -i http://{gateway}/v1/export/all -H 'x-api-key: {small_key}'

3. The quota runs out: the first request still passes, the second is refused with 429.

   curl -i http://{gateway}/v1/messages -H 'x-api-key: {small_key}'
   curl -i http://{gateway}/v1/messages -H 'x-api-key: {small_key}'

   What you were told meanwhile, and your webhooks would be: 50, 80 and 100 % of the quota, each once, and that it is used up.

   curl 'http://{admin}/v1/events?tenant={small_name}' -H 'authorization: Bearer {token}'

4. The upgrade: {small_name} moves to the plan basic.

   curl -i -X PUT http://{admin}/v1/tenants/{small_name}/subscription -H 'authorization: Bearer {token}' -d '{{"plan":"basic"}}'

5. The same request passes at once.

   curl -i http://{gateway}/v1/messages -H 'x-api-key: {small_key}'

6. What {small_name}'s month comes to: both plans for their parts of it, and the hours that make up what was used. Its own
   view of that costs nothing, and needs only its own key.

   curl http://{admin}/v1/tenants/{small_name}/statements/current -H 'authorization: Bearer {token}'
   curl http://{gateway}/.plangate/usage -H 'x-api-key: {small_key}'

More: an event stream, what {small_name} may do and has used, and why a request would be refused.

   curl -N http://{gateway}/v1/events -H 'x-api-key: {big_key}'
   curl http://{admin}/v1/tenants/{small_name}/rights -H 'authorization: Bearer {token}'
   curl http://{admin}/v1/check -H 'authorization: Bearer {token}' -d '{{"tenant":"{small_name}","method":"POST","path":"/v1/ai/chat"}}'

Costs known only afterwards: the assistant reserves 4096 tokens (r= in the RateLimit header), its answer says that it took 9
(x-usage-ai-tokens), and 9 is what {big_name} has used of its ai_tokens.

   curl -i http://{gateway}/v1/ai/chat -H 'x-api-key: {big_key}' -H 'content-type: application/json' -d '{{"prompt":"how do quotas work?"}}'
   curl http://{admin}/v1/tenants/{big_name}/rights -H 'authorization: Bearer {token}'

A plan's whole life: nova tries pro for 14 days, stays, takes two packs of seats, moves down when the month ends, decides to
leave instead, and then to stay. Each call is in force when it is answered; the last line shows what is, and what is to come.

   curl -X PUT http://{admin}/v1/tenants/nova -H 'authorization: Bearer {token}' -d '{{}}'
   curl -X PUT http://{admin}/v1/tenants/nova/subscription -H 'authorization: Bearer {token}' -d '{{"plan":"pro","trial_days":14,"then":"free"}}'
   curl -X PUT http://{admin}/v1/tenants/nova/subscription -H 'authorization: Bearer {token}' -d '{{"plan":"pro"}}'
   curl -X PUT http://{admin}/v1/tenants/nova/addons/extra-seats -H 'authorization: Bearer {token}' -d '{{"quantity":2}}'
   curl -X PUT http://{admin}/v1/tenants/nova/subscription -H 'authorization: Bearer {token}' -d '{{"plan":"basic","at":"period_end"}}'
   curl -X DELETE 'http://{admin}/v1/tenants/nova/subscription?at=period_end' -H 'authorization: Bearer {token}'
   curl -X POST http://{admin}/v1/tenants/nova/subscription/undo -H 'authorization: Bearer {token}'
   curl http://{admin}/v1/tenants/nova/subscription -H 'authorization: Bearer {token}'

A WebSocket that echoes is at ws://{gateway}/v1/ws. Edit a file in policies/ and the gateway follows.
Ctrl-C stops everything.
"#,
        big_name = big.name,
        big_plan = big.plan,
        big_key = big.key,
        small_name = small.name,
        small_plan = small.plan,
        small_key = small.key,
    )
}
