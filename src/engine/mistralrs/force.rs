//! The logits processor: forces every token of a request.

use std::sync::{Arc, Mutex, PoisonError};

use mistralrs::{CustomLogitsProcessor, Device, Tensor};

use super::row::Row;
use crate::script::Token;

/// A row while its request runs. Taken out when the request is over, since a sequence's processor may outlive the
/// channel that says so.
pub(super) type Lent = Arc<Mutex<Option<Row>>>;

/// Forces the tokens of one request of a row.
pub(super) struct Force {
    pub(super) row: Lent,
    /// The token that ends the request.
    pub(super) leave: u32,
}

impl CustomLogitsProcessor for Force {
    /// An error here would abort all that run together, so what goes wrong is noted in the row.
    fn apply(&self, logits: &Tensor, context: &[u32]) -> mistralrs::Result<Tensor> {
        let token = self.next(logits, context);
        let mut forced = vec![0.0_f32; logits.elem_count()];
        if let Some(logit) = forced.get_mut(token as usize) {
            *logit = 1.0;
        }
        Tensor::from_vec(forced, logits.elem_count(), &Device::Cpu)
    }
}

impl Force {
    fn next(&self, logits: &Tensor, context: &[u32]) -> u32 {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = row.as_mut() else { return self.leave };
        let logits: Vec<f32> = match logits.flatten_all().and_then(|logits| logits.to_vec1()) {
            Ok(logits) => logits,
            Err(error) => {
                row.fail_request(error.to_string());
                return self.leave;
            }
        };
        let context: Vec<Token> = context.iter().map(|id| id.cast_signed()).collect();
        row.on_logits(&context, &logits).map_or(self.leave, i32::cast_unsigned)
    }
}
