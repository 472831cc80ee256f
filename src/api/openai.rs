//! OpenAI's surface: chat completions and models, in its shapes and with its errors. Fields that are not known are
//! ignored, as the original does.

mod answer;
mod chat;
mod judge;
mod messages;
mod models;

pub(super) use self::chat::{__path_create as __path_chat, create as chat};
pub(super) use self::models::{
    __path_list as __path_models, __path_show as __path_model, list as models, show as model,
};
