//! A customer's look at its own usage, while it is answered.

use http::{Method, Uri};

use super::{
    context::Context,
    request::{Refusal, Refused},
    view::{self, Shown},
};

/// A request to which the gateway itself will answer.
pub(super) struct Looking {
    pub(super) context: Context,
    /// What it asked for, for who looks at refusals.
    pub(super) asked: (Method, Uri),
}

impl Looking {
    /// Answers it.
    pub(super) fn answer<B>(self, shown: Shown) -> Refused<B> {
        let Self { mut context, asked } = self;
        context.subject = shown.subject;
        match shown.outcome {
            Ok(figures) => Refused::answered(view::answer(&figures, &context), context),
            Err(why) => {
                Refused::away(Refusal { why, request: None, asked: Some(asked), limits: None, context })
            }
        }
    }
}
