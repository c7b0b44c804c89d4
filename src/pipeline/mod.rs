//! The stages of one request, each a tower layer and service over the form the stage before it proves.

pub mod request;
