//! The job over a store in memory and a billing system that only writes down what it is asked.
