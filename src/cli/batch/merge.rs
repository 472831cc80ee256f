//! The answers of a batch from both of its files, in the order of its input.

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Deserialize;
use serde_json::Value;

use super::super::CliError;
use super::super::client::Client;

/// The lines of several files whose lines are numbered, in the order of their numbers.
pub(super) struct Merged {
    files: Vec<NumberedLines>,
}

/// The lines of a file, and the one that comes next with its number.
struct NumberedLines {
    stream: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    buffer: BytesMut,
    next: Option<(u64, Bytes)>,
}

impl Merged {
    /// Opens those of the files that there are.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) async fn open(client: &Client, files: [&Value; 2]) -> Result<Self, CliError> {
        let mut opened = Vec::new();
        for id in files.into_iter().filter_map(Value::as_str) {
            let stream = client.download(&format!("/v1/files/{id}/content")).await?.bytes_stream().boxed();
            let mut lines = NumberedLines { stream, buffer: BytesMut::new(), next: None };
            lines.advance().await?;
            opened.push(lines);
        }
        Ok(Self { files: opened })
    }

    /// The next line, without its line break.
    ///
    /// # Errors
    /// If a file is cut off.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CliError> {
        let number = |file: &NumberedLines| file.next.as_ref().map_or(u64::MAX, |(number, _)| *number);
        let Some(first) = self.files.iter_mut().min_by_key(|file| number(file)) else { return Ok(None) };
        let line = first.next.take().map(|(_, line)| line);
        first.advance().await?;
        Ok(line)
    }
}

impl NumberedLines {
    async fn advance(&mut self) -> Result<(), CliError> {
        let mut searched = 0;
        self.next = loop {
            if let Some(end) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + end).freeze();
                self.buffer.advance(1);
                break Some((number(&line)?, line));
            }
            searched = self.buffer.len();
            match self.stream.next().await {
                Some(Ok(piece)) => self.buffer.extend_from_slice(&piece),
                Some(Err(error)) => return Err(CliError::because("the answers were cut off; try again", error)),
                None => break None,
            }
        };
        Ok(())
    }
}

/// The number of a line of an output, which its id ends with.
fn number(line: &[u8]) -> Result<u64, CliError> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    let read: Result<Line<'_>, _> = serde_json::from_slice(line);
    let number = read.ok().and_then(|line| line.id.rsplit('_').next()?.parse().ok());
    number.ok_or_else(|| CliError::Failed("the server sent a line that is not that of an output".to_owned()))
}
