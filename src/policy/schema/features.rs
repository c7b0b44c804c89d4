//! The shape of `features.yaml`.

use super::{
    shape::{Named, one_of, shape},
    value::{Line, MeterName, Name, Nothing},
};

shape! {
    /// What can be sold: the vocabulary of plans, add-ons and routes. A name that is not declared here is an error there.
    #[schemars(title = "Plangate: features.yaml")]
    Features requires [] {
        /// Rights that are on or off. At most 4096.
        #[schemars(extend("maxProperties" = 4096))]
        features: Named<Name, DeclarationOrNothing>,
        /// Fixed numbers, such as seats. Plangate hands them to your application, which enforces them.
        #[schemars(extend("maxProperties" = 4096))]
        limits: Named<Name, DeclarationOrNothing>,
        /// Things that are counted. At most 256; their names are without `.` and `-`.
        #[schemars(extend("maxProperties" = 256))]
        meters: Named<MeterName, MeterOrNothing>,
    }
}

shape! {
    /// What is said of a feature or a limit.
    Declaration requires [] {
        /// Its name for people.
        #[schemars(extend("examples" = ["Full history"]))]
        title: Line,
    }
}

shape! {
    /// What is said of a meter.
    Meter requires [] {
        /// Its name for people.
        #[schemars(extend("examples" = ["API requests"]))]
        title: Line,
        /// What one of it is called.
        #[schemars(extend("examples" = ["request"]))]
        unit: Line,
    }
}

one_of! {
    /// A declaration; a bare name is one without a title.
    DeclarationOrNothing = [Declaration, Nothing]
}
one_of! {
    /// A meter; a bare name is one without a title.
    MeterOrNothing = [Meter, Nothing]
}
