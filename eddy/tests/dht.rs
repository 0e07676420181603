//! `eddy dht --json`: nodes as another program uses them, over real sockets.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take.
const SOON: Duration = Duration::from_secs(20);
const KEY: &str = "51cff3c1f0bc59f6187e7040cc12a4e9b1eca7aa";

struct Node {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Where it listens.
    addr: String,
}

impl Node {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_eddy"))
            .args(["dht", "--json", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("it is piped");
        let (line, lines) = channel();
        thread::spawn(move || {
            for read in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens any more once the test is over.
                drop(line.send(read));
            }
        });
        let input = child.stdin.take();
        let mut node = Self { child, input, lines, addr: String::new() };
        let ready = node.hear();
        assert_eq!((&ready["ev"], ready["id"].as_str().map(str::len)), (&json!("ready"), Some(40)));
        node.addr = ready["listen"].as_str().expect("it says where").to_owned();
        node
    }

    fn hear(&self) -> Value {
        let line = self.lines.recv_timeout(SOON).expect("it answers");
        serde_json::from_str(&line).expect("it speaks JSON")
    }

    fn ask(&mut self, line: &str) -> Value {
        let input = self.input.as_mut().expect("it still listens");
        writeln!(input, "{line}").expect("it still reads");
        self.hear()
    }

    /// Waits until it knows so many others.
    fn wait_for(&mut self, nodes: u64) {
        let until = Instant::now() + SOON;
        while self.ask(r#"{"op":"info"}"#)["nodes"].as_u64() < Some(nodes) {
            assert!(Instant::now() < until, "it knows fewer than {nodes} others");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn look_up(&mut self) -> Value {
        self.ask(&json!({"op": "get_peers", "ih": KEY}).to_string())["peers"].take()
    }

    fn end(mut self) -> ExitStatus {
        self.input = None;
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn what_one_node_announces_another_finds() {
    let first = Node::start(&[]);
    let mut writer = Node::start(&["--bootstrap", &first.addr]);
    writer.wait_for(1);
    let announced = writer.ask(&json!({"op": "announce", "ih": KEY, "port": 4242}).to_string());
    assert_eq!((&announced["ev"], &announced["ih"]), (&json!("announced"), &json!(KEY)));
    assert_eq!((&announced["ok"], &announced["stored"]), (&json!(true), &json!(2)));
    let mut reader = Node::start(&["--bootstrap", &first.addr]);
    reader.wait_for(1);
    assert_eq!(reader.look_up(), json!(["127.0.0.1:4242"]));
    for node in [first, writer, reader] {
        assert!(node.end().success());
    }
}

#[test]
fn nodes_of_another_network_are_strangers() {
    let mut eddy = Node::start(&[]);
    let others = [
        Node::start(&["--bootstrap", &eddy.addr, "--network", "another"]),
        Node::start(&["--bootstrap", &eddy.addr, "--network", "public"]),
    ];
    let mut friend = Node::start(&["--bootstrap", &eddy.addr, "--network", "eddy"]);
    friend.wait_for(1);
    eddy.wait_for(1);
    for mut other in others {
        assert_eq!(other.ask(r#"{"op":"info"}"#)["nodes"], 0);
    }
    assert_eq!(eddy.ask(r#"{"op":"info"}"#)["nodes"], 1);
}

#[test]
fn what_makes_no_sense_is_said_and_harms_nothing() {
    let mut node = Node::start(&[]);
    for bad in ["", "what?", r#"{"op":"dance"}"#, r#"{"op":"get_peers","ih":"12"}"#] {
        let said = node.ask(bad);
        assert_eq!(said["ev"], "error", "{bad}: {said}");
    }
    assert_eq!(node.look_up(), json!([]));
    let mut input = node.input.take().expect("it still listens");
    writeln!(input, r#"{{"op":"quit"}}"#).expect("it still reads");
    assert!(node.end().success());
}
