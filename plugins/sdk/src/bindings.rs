//! Generated from `wit/0.1` at build time. Use [`types`](crate::types) and
//! [`register!`](crate::register) instead.
//!
//! The types also speak the JSON of the runtime's `lote_model::plan`, for test cases.

#![allow(
    unsafe_code,
    missing_docs,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    reason = "generated: the raw calls of the component's interface"
)]

wit_bindgen::generate!({
    path: "../../wit/0.1",
    world: "framework-plugin",
    pub_export_macro: true,
    export_macro_name: "export_framework",
    default_bindings_module: "lote_plugin_sdk::bindings",
    generate_unused_types: true,
    additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    additional_type_attributes: {
        "lote:framework/types@0.1.0/gpu": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/node": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/job": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/allocation": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/command": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/gpu-share": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/part": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/on-failure": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/process": [#[serde(rename_all = "camelCase")]],
        "lote:framework/types@0.1.0/plan-failure": [#[serde(rename_all = "camelCase")]],
    },
});
