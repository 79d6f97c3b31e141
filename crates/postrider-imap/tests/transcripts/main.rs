//! Transcripts over real TCP: a scripted server says what servers say, and worse.
