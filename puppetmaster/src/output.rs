//! Everything that the puppetmaster says.
//!
//! Results go to standard output and the rest to standard error, each as text or as one JSON object per [`Event`].
//! Promise: what a node or a file says cannot steer the terminal; tables are in a fixed order.

mod deployment;
mod event;
mod load;
mod progress;
mod text;
mod trace;

pub use deployment::{Deployment, OperatorRow};
pub use event::{Event, RecordRow};
pub use load::Figures;
pub use progress::{Bars, Shown};
pub use text::{printable, run_output};
pub use trace::Told;

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Result,
    /// Standard error.
    Message,
}

/// Takes finished lines, each without its last newline.
pub type Sink = Arc<dyn Fn(Channel, &str) + Send + Sync>;

/// The one way to say something. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    format: Format,
    /// Only diagnostics are coloured, and only on a terminal.
    colour: bool,
    sink: Sink,
    bars: Bars,
}

impl Output {
    pub fn new(format: Format, colour: bool, sink: Sink) -> Self {
        Self {
            format,
            colour,
            sink,
            bars: Bars::none(),
        }
    }

    /// Writes to the standard output and error of this process. Texts on a terminal come with progress bars.
    pub fn standard(format: Format, colour: bool) -> Self {
        let mut standard = Self::new(format, colour, Arc::new(write_standard));
        if format == Format::Text && std::io::stderr().is_terminal() {
            standard.bars = Bars::on_terminal();
        }
        standard
    }

    /// How far long runs are.
    pub fn bars(&self) -> &Bars {
        &self.bars
    }

    /// The same, but each text is offered to `printer` first, which says whether it has printed it.
    pub fn printed_by(&self, printer: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let otherwise = Arc::clone(&self.sink);
        let sink = move |channel, text: &str| {
            if !printer(text) {
                otherwise(channel, text);
            }
        };
        Self {
            sink: Arc::new(sink),
            ..self.clone()
        }
    }

    pub fn say(&self, event: &Event) {
        let text = match self.format {
            Format::Text => text::render(event, self.colour),
            Format::Json => event.to_json().to_string(),
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        self.bars.aside(|| (self.sink)(event.channel(), text));
    }

    /// A remark that is no result.
    pub fn message(&self, text: impl Into<String>) {
        self.say(&Event::Message(text.into()));
    }
}

/// A reader that has gone away, such as `head`, is no reason to stop a cluster halfway: the error is ignored.
fn write_standard(channel: Channel, text: &str) {
    let _ = match channel {
        Channel::Result => writeln!(std::io::stdout().lock(), "{text}"),
        Channel::Message => writeln!(std::io::stderr().lock(), "{text}"),
    };
}
