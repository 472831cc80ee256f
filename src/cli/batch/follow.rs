//! The progress of a batch, until it ends.

use std::time::Duration;

use serde_json::Value;

use super::super::CliError;
use super::super::client::Client;
use super::super::progress::Progress;

/// The time between looks.
const PAUSE: Duration = Duration::from_secs(1);
/// Looks in a row that may fail before the command gives up. The batch goes on.
const PATIENCE: u32 = 60;

pub(super) fn batch_path(id: &str) -> String {
    format!("/v1/batches/{id}")
}

/// Shows the progress of a batch, and returns it when it has ended.
///
/// # Errors
/// If there is no such batch, or the server stays away.
pub(super) async fn follow(client: &Client, id: &str) -> Result<Value, CliError> {
    let (mut progress, mut counted, mut away) = (None, (0, 0), 0);
    loop {
        let batch = match client.fetch(&batch_path(id)).await {
            Ok(batch) => batch,
            // A server that restarts goes on with its batches.
            Err(error) if away < PATIENCE && !matches!(error, CliError::Refused(_)) => {
                away += 1;
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        away = 0;
        let number = |name: &str| batch["request_counts"][name].as_u64().unwrap_or(0);
        let now = (number("completed"), number("failed"));
        if number("total") > 0 {
            let earlier = (now.0 + now.1) as usize;
            let progress = progress.get_or_insert_with(|| {
                counted = now;
                Progress::start(number("total") as usize, earlier)
            });
            let failed = now.1.saturating_sub(counted.1) as usize;
            let done = (now.0 + now.1).saturating_sub(counted.0 + counted.1) as usize;
            if done > 0 {
                progress.add_many(done, failed);
            }
            counted = now;
        }
        if ["completed", "failed", "expired", "cancelled"].contains(&batch["status"].as_str().unwrap_or_default()) {
            progress.iter().for_each(Progress::end);
            return Ok(batch);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
