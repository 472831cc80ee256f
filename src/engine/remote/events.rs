//! Server-sent events: the chunks of a stream.

use serde_json::Value;

/// Maximum size of an event, in bytes.
const MOST_BYTES: usize = 4 << 20;

/// An event.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Data(Value),
    /// The `[DONE]` of OpenAI's streams.
    End,
}

/// Takes the bytes of a stream, and gives whole events.
#[derive(Debug, Default)]
pub(super) struct Events {
    rest: Vec<u8>,
}

impl Events {
    /// The events that these bytes complete.
    ///
    /// # Errors
    /// When an event is too long, or is not JSON.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, &'static str> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|byte| *byte == b'\n') {
            let line = self.rest[start..start + length].trim_ascii();
            start += length + 1;
            // Comments keep a connection alive; names and ids of events are not used.
            let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii_start) else { continue };
            events.push(match data {
                b"[DONE]" => Event::End,
                data => Event::Data(serde_json::from_slice(data).map_err(|_| "a stream of what is not JSON")?),
            });
        }
        self.rest.drain(..start);
        if self.rest.len() > MOST_BYTES {
            return Err("a stream with an event of more than 4 MB");
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_whole_wherever_the_bytes_are_cut() {
        let stream = ": ping\r\n\r\nevent: x\ndata: {\"a\":\"é\"}\n\ndata:{\"b\":1}\r\n\ndata: [DONE]\n\n";
        let expected = [Event::Data(json!({"a": "é"})), Event::Data(json!({"b": 1})), Event::End];
        for size in 1..stream.len() {
            let mut events = Events::default();
            let found: Vec<Event> =
                stream.as_bytes().chunks(size).flat_map(|part| events.push(part).unwrap()).collect();
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        assert!((0..100).any(|_| events.push(&[b'x'; 1 << 16]).is_err()));
        assert!(Events::default().push(b"data: nothing\n").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Events::default().push(&bytes);
        }
    }
}
