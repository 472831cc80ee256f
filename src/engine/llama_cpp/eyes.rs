//! The eyes of a model: llama.cpp's multimodal projector (mtmd), which turns pictures into embeddings.
//!
//! Texts are never given to it: it gets the marker of a picture alone, and writes the tokens around the picture, the
//! picture, and nothing else into the sequence. So no text of a request can become a picture.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::mtmd::{
    MtmdBitmap, MtmdContext, MtmdContextParams, MtmdInputChunkType, MtmdInputChunks, MtmdInputText,
};

use super::settings::Settings;
use crate::engine::scheduler::Slot;
use crate::pictures::{Picture, Pixels};
use crate::script::{Glance, Look, Token, Unseen};

/// Stands for a picture in what is tokenised.
const MARKER: &str = "<__gavel_picture__>";
/// Maximum number of remembered pictures and sizes; then all are forgotten, which costs shared prefixes only.
const REMEMBERED: usize = 1 << 14;
/// Sizes that are tokenised when the model is loaded: what cannot be handled is found then.
const PROBED: [(u32, u32); 3] = [(1, 1), (4096, 64), (2048, 2048)];

/// The eyes of a loaded model.
pub(super) struct Eyes {
    /// Many threads may tokenise at once; one computes.
    context: RwLock<MtmdContext>,
    /// The context refers to it, and is dropped first.
    _model: Arc<LlamaModel>,
    ids: Mutex<Ids>,
    /// Tokens and positions by width and height, on which alone they depend.
    sizes: Mutex<HashMap<(u32, u32), (usize, usize)>>,
}

/// The ids that stand for pictures: they are counted, so that no two pictures ever have the same one.
#[derive(Default)]
struct Ids {
    known: HashMap<[u8; 32], Token>,
    made: Token,
}

impl Ids {
    fn of(&mut self, picture: &Picture) -> Option<Token> {
        if let Some(id) = self.known.get(picture.digest()) {
            return Some(*id);
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.made = self.made.checked_sub(1)?;
        self.known.insert(*picture.digest(), self.made);
        Some(self.made)
    }
}

impl Eyes {
    /// Loads the eyes of a model.
    ///
    /// # Errors
    /// If the file has no eyes for this model, or they need more tokens in one step than there are.
    pub(super) fn load(path: &Path, model: &Arc<LlamaModel>, settings: Settings) -> Result<Self, String> {
        let path = path.to_str().ok_or("its path is not valid UTF-8")?;
        let params = MtmdContextParams {
            use_gpu: settings.gpu_layers > 0,
            print_timings: false,
            n_threads: settings.thread_count()?,
            media_marker: CString::new(MARKER).map_err(|error| error.to_string())?,
            image_max_tokens: i32::try_from(settings.picture_tokens).map_err(|error| error.to_string())?,
            ..MtmdContextParams::default()
        };
        let context = MtmdContext::init_from_file(path, model, &params)
            .map_err(|_| "it is no multimodal projector for this model; the log has llama.cpp's reason")?;
        if !context.support_vision() {
            return Err("it has no eyes: it is a projector for other media".to_owned());
        }
        let mut largest = 0;
        for (width, height) in PROBED {
            let rgb = vec![128; 3 * width as usize * height as usize];
            let chunks = chunks(&context, &Pixels { width, height, rgb })?;
            let of_pictures = (0..chunks.len()).filter_map(|index| chunks.get(index));
            let of_pictures = of_pictures.filter(|chunk| chunk.chunk_type() == MtmdInputChunkType::Image);
            largest = of_pictures.map(|chunk| chunk.n_tokens()).fold(largest, usize::max);
        }
        // llama.cpp ends the process if such a picture is split.
        if context.decode_use_non_causal() && largest > settings.step_tokens {
            return Err(format!(
                "it computes a picture in one step of {largest} tokens; set llama_cpp.step_tokens to {largest} or more, or \
                 llama_cpp.picture_tokens to less"
            ));
        }
        let (ids, sizes) = Default::default();
        Ok(Self { context: RwLock::new(context), _model: Arc::clone(model), ids, sizes })
    }

    /// What a picture takes of a context.
    ///
    /// # Errors
    /// If llama.cpp does not accept it.
    pub(super) fn look(&self, picture: &Picture) -> Result<Glance, Unseen> {
        let refused = |reason: &str| Unseen::Refused(reason.to_owned());
        let pixels = picture.pixels().ok_or_else(|| refused("it is not decoded"))?;
        let (tokens, positions) = self.takes(pixels).map_err(Unseen::Refused)?;
        let id = locked(&self.ids).of(picture).ok_or_else(|| refused("there were too many pictures; restart"))?;
        Ok(Glance { id, tokens, positions })
    }

    /// Tokens and positions of a picture.
    fn takes(&self, pixels: &Pixels) -> Result<(usize, usize), String> {
        let size = (pixels.width, pixels.height);
        if let Some(known) = locked(&self.sizes).get(&size) {
            return Ok(*known);
        }
        let chunks = chunks(&self.context.read().unwrap_or_else(PoisonError::into_inner), pixels)?;
        let positions = usize::try_from(chunks.total_positions()).map_err(|error| error.to_string())?;
        let takes = (chunks.total_tokens(), positions);
        if takes.0 == 0 || takes.1 == 0 || takes.1 > takes.0 {
            return Err(format!("it takes {} tokens and {positions} positions", takes.0));
        }
        let mut sizes = locked(&self.sizes);
        if sizes.len() >= REMEMBERED {
            sizes.clear();
        }
        sizes.insert(size, takes);
        Ok(takes)
    }

    /// Computes a picture into a slot.
    ///
    /// # Errors
    /// If llama.cpp fails.
    pub(super) fn see(
        &self,
        look: &Look,
        position: usize,
        slot: Slot,
        context: &mut LlamaContext<'_>,
        step_tokens: usize,
    ) -> Result<(), String> {
        let pixels = look.picture.pixels().ok_or("the picture is not decoded")?;
        let number = |number: usize| i32::try_from(number).map_err(|error| error.to_string());
        let mut eyes = self.context.write().unwrap_or_else(PoisonError::into_inner);
        let chunks = chunks(&eyes, pixels)?;
        let end = chunks
            .eval_chunks(&mut eyes, context, number(position)?, slot, number(step_tokens)?, false)
            .map_err(|error| format!("the picture at {} could not be computed: {error}", look.picture.mention()))?;
        if end != number(position + look.glance.positions)? {
            return Err(format!("the picture took {end} positions in place of {}", look.glance.positions));
        }
        Ok(())
    }
}

/// The tokens around a picture, and the picture.
fn chunks(context: &MtmdContext, pixels: &Pixels) -> Result<MtmdInputChunks, String> {
    let bitmap = MtmdBitmap::from_image_data(pixels.width, pixels.height, &pixels.rgb);
    let bitmap = bitmap.map_err(|error| error.to_string())?;
    let marker = MtmdInputText { text: MARKER.to_owned(), add_special: false, parse_special: true };
    context.tokenize(marker, &[&bitmap]).map_err(|error| error.to_string())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pictures_have_the_same_id() {
        let picture = |number: usize| Picture::new(format!("GIF89a{number}").into_bytes(), 100).unwrap();
        let mut ids = Ids::default();
        let first = ids.of(&picture(0)).unwrap();
        assert!(first < 0 && ids.of(&picture(0)) == Some(first));
        let mut seen: Vec<Token> = (0..REMEMBERED + 10).map(|number| ids.of(&picture(number)).unwrap()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), REMEMBERED + 10);
        ids.made = Token::MIN;
        assert_eq!(ids.of(&picture(usize::MAX)), None);
    }
}
