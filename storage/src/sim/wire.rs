//! Messages pass through the codec in a simulation too.

use common::fabric::{decode, encode};
use common::proto;

use crate::codec;
use crate::core::message::Message;

/// What arrives of a message.
pub fn pass_through_codec(message: Message) -> Result<Message, String> {
    let name = format!("{:?}", std::mem::discriminant(&message));
    let wire = encode(&proto::PeerMessage {
        body: Some(codec::encode(message)),
        ..proto::PeerMessage::default()
    });
    let arrived: proto::PeerMessage =
        decode(wire).map_err(|error| format!("{name}: {}", error.message))?;
    let body = arrived
        .body
        .ok_or_else(|| format!("{name} lost its body"))?;
    codec::decode(body).map_err(|error| format!("{name}: {}", error.message))
}
