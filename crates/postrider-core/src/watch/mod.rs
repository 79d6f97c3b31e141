//! The watch of one folder: a state machine that is fed inputs and answers with the next effect.

mod seam;

pub use seam::*;
