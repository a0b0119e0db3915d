//! How one operation is described.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Schema, SecurityRequirement};

use super::parameters;
use super::schemas::error::CloudError;

const JSON: &str = "application/json";

/// Schemas by their names.
pub(crate) type Named = Vec<(String, RefOr<Schema>)>;

/// A schema of the document, and how to collect it with all that it needs.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    name: fn() -> Cow<'static, str>,
    collect: fn(&mut Named),
}

impl Shape {
    pub(crate) fn of<T: ToSchema>() -> Self {
        Self {
            name: T::name,
            collect: collect::<T>,
        }
    }

    pub(crate) fn collect(self, all: &mut Named) {
        (self.collect)(all);
    }

    fn reference(self) -> Ref {
        Ref::from_schema_name((self.name)())
    }
}

fn collect<T: ToSchema>(all: &mut Named) {
    all.push((T::name().into_owned(), T::schema()));
    T::schemas(all);
}

/// One operation under one prefix.
#[derive(Clone)]
pub(crate) struct Described {
    pub(crate) method: HttpMethod,
    pub(crate) path: String,
    /// Unique in the document.
    pub(crate) id: String,
    pub(crate) tag: &'static str,
    summary: &'static str,
    /// Parameters that do not stand in the path.
    pub(crate) parameters: Vec<Parameter>,
    body: Option<(Shape, Required)>,
    /// The body under `/v1`, where it is another one.
    twin_body: Option<Shape>,
    /// Whether the body is any bytes.
    takes_bytes: bool,
    answers: Vec<(&'static str, Response)>,
    /// What is to be in the document because of this operation.
    shapes: Vec<Shape>,
    extensions: Vec<(&'static str, serde_json::Value)>,
    needs_no_token: bool,
}

impl Described {
    pub(crate) fn new(
        method: HttpMethod,
        id: &str,
        path: impl Into<String>,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path: path.into(),
            id: id.to_owned(),
            tag: "",
            summary,
            parameters: Vec::new(),
            body: None,
            twin_body: None,
            takes_bytes: false,
            answers: Vec::new(),
            shapes: vec![Shape::of::<CloudError>()],
            extensions: Vec::new(),
            needs_no_token: false,
        }
    }

    pub(crate) fn get(id: &str, path: impl Into<String>, summary: &'static str) -> Self {
        Self::new(HttpMethod::Get, id, path, summary)
    }

    pub(crate) fn put(id: &str, path: impl Into<String>, summary: &'static str) -> Self {
        Self::new(HttpMethod::Put, id, path, summary)
    }

    pub(crate) fn patch(id: &str, path: impl Into<String>, summary: &'static str) -> Self {
        Self::new(HttpMethod::Patch, id, path, summary)
    }

    pub(crate) fn post(id: &str, path: impl Into<String>, summary: &'static str) -> Self {
        Self::new(HttpMethod::Post, id, path, summary)
    }

    /// A deletion that may take its time.
    pub(crate) fn delete(id: &str, path: impl Into<String>, summary: &'static str) -> Self {
        Self::new(HttpMethod::Delete, id, path, summary)
            .empty("200", "It is gone.")
            .accepted()
            .empty("204", "There was none.")
    }

    pub(crate) fn tag(mut self, tag: &'static str) -> Self {
        self.tag = tag;
        self
    }

    pub(crate) fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// The request has a body.
    pub(crate) fn takes<T: ToSchema>(mut self) -> Self {
        self.shapes.push(Shape::of::<T>());
        self.body = Some((Shape::of::<T>(), Required::True));
        self
    }

    /// The request's body is any bytes.
    pub(crate) fn takes_bytes(mut self) -> Self {
        self.takes_bytes = true;
        self
    }

    /// The request may have a body.
    pub(crate) fn may_take<T: ToSchema>(mut self) -> Self {
        self = self.takes::<T>();
        self.body = Some((Shape::of::<T>(), Required::False));
        self
    }

    /// Under `/v1` the body is another one.
    pub(crate) fn twin_takes<T: ToSchema>(mut self) -> Self {
        self.shapes.push(Shape::of::<T>());
        self.twin_body = Some(Shape::of::<T>());
        self
    }

    /// 200 with JSON.
    pub(crate) fn answers<T: ToSchema>(self, what: &str) -> Self {
        self.tells::<T>("200", what)
    }

    /// 201 with JSON: it has been made, and `Location` says where it is.
    pub(crate) fn creates<T: ToSchema>(self, what: &str) -> Self {
        self.tells::<T>("201", what)
    }

    fn tells<T: ToSchema>(mut self, status: &'static str, what: &str) -> Self {
        let shape = Shape::of::<T>();
        self.shapes.push(shape);
        let content = ContentBuilder::new()
            .schema(Some(shape.reference()))
            .build();
        let response = ResponseBuilder::new()
            .description(what)
            .content(JSON, content);
        self.answers.push((status, response.build()));
        self
    }

    /// 200 with one page of a list, whose length the client chooses.
    pub(crate) fn lists<T: ToSchema>(self) -> Self {
        self.parameter(parameters::max_results()).lists_all::<T>()
    }

    /// 200 with a list whose pages, if there are several, the daemon makes.
    pub(crate) fn lists_all<T: ToSchema>(mut self) -> Self {
        let link = serde_json::json!({"nextLinkName": "nextLink"});
        self.extensions.push(("x-ms-pageable", link));
        self.answers::<T>("One page.")
    }

    /// 200 with a JSON object of any shape.
    pub(crate) fn answers_any_object(mut self, what: &str) -> Self {
        let object = ObjectBuilder::new().schema_type(Type::Object).build();
        let content = ContentBuilder::new().schema(Some(object)).build();
        let response = ResponseBuilder::new()
            .description(what)
            .content(JSON, content);
        self.answers.push(("200", response.build()));
        self
    }

    /// An answer without a body.
    pub(crate) fn empty(mut self, status: &'static str, what: &str) -> Self {
        self.answers.push((status, Response::new(what)));
        self
    }

    /// An answer in text or bytes.
    pub(crate) fn sends(mut self, status: &'static str, types: &[&str], what: &str) -> Self {
        let text = || ObjectBuilder::new().schema_type(Type::String).build();
        let content = || ContentBuilder::new().schema(Some(text())).build();
        let response = types.iter().fold(
            ResponseBuilder::new().description(what),
            |response, kind| response.content(*kind, content()),
        );
        self.answers.push((status, response.build()));
        self
    }

    /// A header of the answer that was described last.
    pub(crate) fn with_header(mut self, name: &str, what: &str) -> Self {
        if let Some((_, response)) = self.answers.last_mut() {
            let headers = &mut response.headers;
            headers.insert(name.to_owned(), RefOr::T(header(what)));
        }
        self
    }

    /// It may take its time: 202 says where to ask how far it is.
    pub(crate) fn accepted(mut self) -> Self {
        let headers = [
            ("Azure-AsyncOperation", "Where to ask how far it is."),
            ("Location", "Answers 202 while it goes on, then 200."),
            ("Retry-After", "Seconds to wait before asking."),
        ];
        let response = headers.iter().fold(
            ResponseBuilder::new().description("It has been accepted and goes on."),
            |response, (name, what)| response.header(*name, header(what)),
        );
        self.answers.push(("202", response.build()));
        self.long_running()
    }

    fn long_running(mut self) -> Self {
        self.extensions
            .push(("x-ms-long-running-operation", true.into()));
        self
    }

    /// Schemas that the text of the operation names.
    pub(crate) fn mentions<T: ToSchema>(mut self) -> Self {
        self.shapes.push(Shape::of::<T>());
        self
    }

    pub(crate) fn needs_no_token(mut self) -> Self {
        self.needs_no_token = true;
        self
    }

    /// The same operation under `/v1`.
    pub(crate) fn at_twin(&self, path: String) -> Self {
        let mut twin = self.clone();
        twin.id = format!("V1_{}", self.id);
        twin.path = path;
        twin.parameters
            .retain(|parameter| parameter.name != "api-version");
        twin.body = match (self.twin_body, self.body.clone()) {
            (Some(shape), _) => Some((shape, Required::True)),
            (None, body) => body,
        };
        twin
    }

    /// The schemas that it needs.
    pub(crate) fn collect(&self, all: &mut Named) {
        for shape in &self.shapes {
            shape.collect(all);
        }
    }

    fn request_body(&self) -> Option<RequestBody> {
        if self.takes_bytes {
            return Some(any_bytes());
        }
        let (shape, required) = self.body.clone()?;
        Some(body(shape, required))
    }

    /// As the document has it.
    pub(crate) fn operation(&self) -> Operation {
        let in_path = parameters::in_path(&self.path);
        let parameters = in_path.chain(self.parameters.iter().cloned());
        let mut operation = OperationBuilder::new()
            .operation_id(Some(&self.id))
            .summary(Some(self.summary))
            .tag(self.tag)
            .parameters(Some(parameters))
            .request_body(self.request_body())
            .extensions(Some(Extensions::from_iter(self.extensions.clone())));
        for (status, response) in &self.answers {
            operation = operation.response(*status, response.clone());
        }
        if self.needs_no_token {
            operation = operation.security(SecurityRequirement::default());
        }
        operation.response("default", refusal()).build()
    }
}

fn body(shape: Shape, required: Required) -> RequestBody {
    let content = ContentBuilder::new()
        .schema(Some(shape.reference()))
        .build();
    RequestBodyBuilder::new()
        .content(JSON, content)
        .required(Some(required))
        .build()
}

fn any_bytes() -> RequestBody {
    let bytes = ObjectBuilder::new().schema_type(Type::String).build();
    let content = ContentBuilder::new().schema(Some(bytes)).build();
    RequestBodyBuilder::new()
        .content("application/octet-stream", content)
        .required(Some(Required::True))
        .build()
}

fn refusal() -> Response {
    let reference = Shape::of::<CloudError>().reference();
    let content = ContentBuilder::new().schema(Some(reference)).build();
    ResponseBuilder::new()
        .description("The request was refused or failed.")
        .content(JSON, content)
        .build()
}

fn header(what: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .description(Some(what))
        .build()
}
