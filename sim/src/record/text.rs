//! Events and outputs as a line of text, with sizes in place of content.

use std::fmt;

use eddy_core::{Action, Command, Event, LinkId, Output};

use super::output::Recorded;

/// An [`Event`] or an [`Output`] as text.
#[derive(Clone, Copy, Debug)]
pub struct Text<T>(pub T);

impl fmt::Display for Text<&Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Wake => f.write_str("Wake"),
            Event::Opened { link: LinkId(link), dial: Some(dial), remote } => {
                write!(f, "Opened link {link} to {remote}, dial {}", dial.0)
            }
            Event::Opened { link: LinkId(link), dial: None, remote } => {
                write!(f, "Opened link {link} from {remote}")
            }
            Event::DialFailed { dial } => write!(f, "DialFailed dial {}", dial.0),
            Event::Received { link: LinkId(link), bytes } => {
                write!(f, "Received link {link}, {} bytes", bytes.len())
            }
            Event::Flushed { link: LinkId(link), bytes } => {
                write!(f, "Flushed link {link}, {bytes} bytes")
            }
            Event::Closed { link: LinkId(link) } => write!(f, "Closed link {link}"),
            Event::Datagram { from, bytes } => {
                write!(f, "Datagram from {from}, {} bytes", bytes.len())
            }
            Event::Command { ticket, command: Command::Publish(packet) } => {
                write!(f, "Command ticket {}, Publish {} bytes", ticket.0, packet.len())
            }
            Event::Command { ticket, command } => {
                write!(f, "Command ticket {}, {command:?}", ticket.0)
            }
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Text<&Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.0 {
            Output::Wait(_) => return Recorded::of(self.0).fmt(f),
            Output::Act(action) => action,
        };
        match action {
            Action::Dial { dial, to } => write!(f, "Dial {to}, dial {}", dial.0),
            Action::Send { link: LinkId(link), head, body } => {
                write!(f, "Send link {link}, {} bytes", head.len() + body.len())
            }
            Action::SendDatagram { to, bytes } => {
                write!(f, "SendDatagram to {to}, {} bytes", bytes.len())
            }
            Action::SetRead { link: LinkId(link), on } => {
                write!(f, "SetRead link {link}, {}", if *on { "on" } else { "off" })
            }
            Action::Close { link: LinkId(link), flush } => {
                write!(f, "Close link {link}{}", if *flush { " when all is sent" } else { "" })
            }
            Action::Deliver(delivery) => {
                write!(f, "Deliver block {}, {} bytes", delivery.seq.0, delivery.payload.len())?;
                match delivery.due {
                    Some(due) => write!(f, ", due {due:?}"),
                    None => Ok(()),
                }
            }
            Action::Notify(notice) => write!(f, "Notify {notice:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eddy_core::{Delivery, DialId, Head, Notice, Phase, Seq, Ticket, Time};

    #[test]
    fn sizes_stand_for_content() {
        let link = LinkId(3);
        let bytes = vec![b'x'; 1_316].into();
        let event = |event| Text(&event).to_string();
        assert_eq!(event(Event::Received { link, bytes }), "Received link 3, 1316 bytes");
        let publish = Command::Publish(vec![b'x'; 7].into());
        let publish = Event::Command { ticket: Ticket(9), command: publish };
        assert_eq!(event(publish), "Command ticket 9, Publish 7 bytes");
        let remote = ([10, 0, 0, 1], 7_400).into();
        let dialled = Event::Opened { link, dial: Some(DialId(2)), remote };
        assert_eq!(event(dialled), "Opened link 3 to 10.0.0.1:7400, dial 2");

        let act = |action| Text(&Output::Act(action)).to_string();
        let (head, body) = (Head::from_slice(b"12345"), vec![b'x'; 100].into());
        assert_eq!(act(Action::Send { link, head, body }), "Send link 3, 105 bytes");
        let due = Some(Time::from_millis(1_500));
        let payload = vec![b'x'; 100].into();
        let delivery = Delivery { seq: Seq(8), due, slot: Time::ZERO, payload };
        assert_eq!(act(Action::Deliver(delivery)), "Deliver block 8, 100 bytes, due 1.500000s");
        assert_eq!(act(Action::Notify(Notice::Phase(Phase::Playing))), "Notify Phase(Playing)");
        assert_eq!(Text(&Output::Wait(due)).to_string(), "Wait until 1.500000s");
    }
}
