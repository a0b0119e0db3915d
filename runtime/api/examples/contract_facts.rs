//! Takes the facts from the Swagger file of Batch AI, leaving its sentences.
//!
//! `cargo run --release -p lote-api --example contract_facts -- FILE > tests/contract/batchai-2018-05-01.json`
#![allow(
    clippy::expect_used,
    reason = "a chore that cannot read its file says so and ends"
)]

#[path = "../tests/it/contract/facts.rs"]
mod facts;

fn main() {
    let file = std::env::args().nth(1).expect("the name of the file");
    let text = std::fs::read_to_string(file).expect("a readable file");
    let document = serde_json::from_str(&text).expect("a JSON document");
    println!("{:#}", facts::of(&document));
}
