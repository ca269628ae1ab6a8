//! Compiles the .proto files without protoc (protox) and generates, for every service, a typed client and a
//! typed server over `common::fabric` (see `src/fabric/mod.rs`).

use std::error::Error;
use std::fmt::Write;

const FILES: [&str; 13] = [
    "types",
    "operators",
    "node",
    "puppetmaster",
    "storage",
    "disk",
    "backup",
    "worker",
    "scheduler",
    "runs",
    "pcs",
    "fabric",
    "faults",
];

fn main() -> Result<(), Box<dyn Error>> {
    let files = FILES.map(|name| format!("marionette/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    println!("cargo:rerun-if-changed=proto");
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .service_generator(Box::new(FabricServices))
        .compile_fds(descriptors)?;
    Ok(())
}

/// Writes a module per service: `METHODS` paths, a `Client`, a `Service` trait and the `Server` that dispatches to it.
struct FabricServices;

impl prost_build::ServiceGenerator for FabricServices {
    fn generate(&mut self, service: prost_build::Service, out: &mut String) {
        // The stream of the gRPC fabric itself is not a service of a role.
        if service.name == "Fabric" {
            return;
        }
        if let Err(error) = write_module(&service, out) {
            // Writing to a string does not fail; a broken file would not compile either.
            println!("cargo:error={error}");
        }
    }
}

fn write_module(service: &prost_build::Service, out: &mut String) -> std::fmt::Result {
    let module = service.name.to_lowercase();
    writeln!(
        out,
        "/// Client and server of the service `{}`.",
        service.proto_name
    )?;
    writeln!(out, "pub mod {module} {{")?;
    writeln!(
        out,
        "    use crate::fabric::{{decode, encode, Address, BoxFuture, Bytes, Duration, FabricHandle, Handler, Status}};"
    )?;
    writeln!(out, "    use std::sync::Arc;")?;
    let package = &service.package;
    for method in &service.methods {
        let name = method.name.to_uppercase();
        writeln!(
            out,
            "    pub const {name}: &str = \"/{package}.{}/{}\";",
            service.proto_name, method.proto_name
        )?;
    }
    write_client(service, out)?;
    write_server(service, out)?;
    writeln!(out, "}}")
}

fn write_client(service: &prost_build::Service, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "    /// Speaks to one peer; every call ends within its timeout."
    )?;
    writeln!(out, "    #[derive(Clone)]")?;
    writeln!(
        out,
        "    pub struct Client {{ fabric: FabricHandle, to: Address, timeout: Duration }}"
    )?;
    writeln!(out, "    impl Client {{")?;
    writeln!(
        out,
        "        pub fn new(fabric: FabricHandle, to: Address, timeout: Duration) -> Self {{ Self {{ fabric, to, timeout }} }}"
    )?;
    for method in &service.methods {
        let (input, output) = (qualify(&method.input_type), qualify(&method.output_type));
        let (name, path) = (&method.name, method.name.to_uppercase());
        writeln!(
            out,
            "        pub async fn {name}(&self, request: &{input}) -> Result<{output}, Status> {{"
        )?;
        writeln!(
            out,
            "            decode(self.fabric.call(&self.to, {path}, encode(request), self.timeout).await?)"
        )?;
        writeln!(out, "        }}")?;
    }
    writeln!(out, "    }}")
}

fn write_server(service: &prost_build::Service, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "    /// What a role implements; requests arrive decoded but not validated."
    )?;
    writeln!(out, "    pub trait Service: Send + Sync + 'static {{")?;
    for method in &service.methods {
        let (input, output) = (qualify(&method.input_type), qualify(&method.output_type));
        writeln!(
            out,
            "        fn {}(&self, request: {input}) -> impl Future<Output = Result<{output}, Status>> + Send;",
            method.name
        )?;
    }
    writeln!(out, "    }}")?;
    writeln!(
        out,
        "    /// Dispatches the methods of this service to `T`."
    )?;
    writeln!(out, "    pub struct Server<T>(pub Arc<T>);")?;
    writeln!(out, "    impl<T: Service> Handler for Server<T> {{")?;
    writeln!(
        out,
        "        fn service(&self) -> &'static str {{ \"/{}.{}/\" }}",
        service.package, service.proto_name
    )?;
    writeln!(
        out,
        "        fn handle(&self, method: &str, body: Bytes) -> BoxFuture<'static, Result<Bytes, Status>> {{"
    )?;
    writeln!(out, "            let service = Arc::clone(&self.0);")?;
    writeln!(out, "            match method {{")?;
    for method in &service.methods {
        writeln!(
            out,
            "                {} => Box::pin(async move {{ Ok(encode(&service.{}(decode(body)?).await?)) }}),",
            method.name.to_uppercase(),
            method.name
        )?;
    }
    writeln!(
        out,
        "                other => {{ let status = Status::unknown_method(other); Box::pin(async move {{ Err(status) }}) }}"
    )?;
    writeln!(out, "            }}")?;
    writeln!(out, "        }}")?;
    writeln!(out, "    }}")
}

/// Message types are relative to the package's module, one above the service's.
fn qualify(rust_type: &str) -> String {
    format!("super::{rust_type}")
}
