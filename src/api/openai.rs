//! The OpenAI-compatible API: chat and text completions, decisions, graders and models, with OpenAI's formats and
//! errors. Unknown fields are ignored, as by OpenAI.

mod ask;
mod chat;
mod chat_request;
mod completions;
mod decisions;
mod graders;
mod judge;
mod messages;
mod models;
mod report;
mod response_events;
mod response_format;
mod responses;
mod sampling;
mod schema;
mod systemone;
mod text;
mod tokens;

pub(super) use self::chat::{__path_create as __path_chat, create as chat};
pub(super) use self::completions::{__path_create as __path_complete, create as complete};
pub(super) use self::decisions::{__path_create as __path_decide, create as decide};
pub(super) use self::graders::{
    __path_run as __path_run_grader, __path_validate as __path_validate_grader, run as run_grader,
    validate as validate_grader,
};
pub(super) use self::models::{
    __path_list as __path_models, __path_show as __path_model, list as models, show as model,
};
pub(super) use self::responses::{__path_create as __path_respond, create as respond};
pub(super) use self::systemone::{__path_create as __path_systemone, create as systemone};
pub(super) use self::tokens::{
    __path_detokenize, __path_tokenize, __path_tokenizer_info, detokenize, tokenize, tokenizer_info,
};
