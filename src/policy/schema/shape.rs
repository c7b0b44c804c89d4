//! How shapes are written down: maps of known keys, maps of names, one of several forms, and single values.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A map whose keys are known: a struct with a field for each, and `KEYS`, their names in this order.
macro_rules! shape {
    (
        $(#[$about:meta])*
        $name:ident requires [$($must:literal),*] {
            $( $(#[$field_about:meta])* $field:ident: $type:ty, )*
        }
    ) => {
        #[derive(schemars::JsonSchema)]
        $(#[$about])*
        #[schemars(deny_unknown_fields, extend("required" = [$($must),*]))]
        #[allow(dead_code, reason = "there is never a value of it: the shape is all that is asked for")]
        pub(in crate::policy) struct $name {
            $( $(#[$field_about])* $field: $type, )*
        }

        impl $name {
            /// The keys that may stand in it.
            #[allow(dead_code, reason = "some shapes are read together with others")]
            pub(in crate::policy) const KEYS: &'static [&'static str] =
                &[$( $crate::policy::schema::shape::plain(stringify!($field)), )*];
        }
    };
}

/// A value that is written in one of several forms.
macro_rules! one_of {
    ($(#[doc = $about:literal])* $name:ident = [$($form:ty),+ $(,)?]) => {
        $(#[doc = $about])*
        pub(in crate::policy) struct $name;

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "oneOf": [$(generator.subschema_for::<$form>()),+] })
            }
        }
    };
}

/// A single value, by its schema.
macro_rules! value {
    ($(#[doc = $about:literal])* $name:ident = $schema:tt) => {
        $(#[doc = $about])*
        pub(in crate::policy) struct $name;

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

pub(super) use {one_of, shape, value};

/// A field's name without the mark that lets it be a word of the language.
pub(super) const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', rest @ ..] => match std::str::from_utf8(rest) {
            Ok(rest) => rest,
            Err(_) => name,
        },
        _ => name,
    }
}

/// A map from names of one kind to something.
pub(super) struct Named<K, V>(PhantomData<(K, V)>);

impl<K: JsonSchema, V: JsonSchema> JsonSchema for Named<K, V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}_by_{}", V::schema_name(), K::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": K::json_schema(generator),
            "additionalProperties": generator.subschema_for::<V>(),
        })
    }
}

/// A list in which nothing stands twice.
pub(super) struct Distinct<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Distinct<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Distinct_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "uniqueItems": true, "items": generator.subschema_for::<T>() })
    }
}
