//! The sections of a component: what it imports and exports, its memories, and who made it. Nothing of it is run.

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentImport,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, CustomSectionReader,
    InstanceTypeDeclaration, KnownCustom, MemoryType, Parser, Payload,
};
use worker::host::language;

/// The contract's package, and its version in this worker.
const PACKAGE: &str = "marionette:operator/";
const VERSION: &str = "1.0.0";
/// Each interface of the contract and its functions, those of resources in their written form.
pub const INTERFACES: [(&str, &[&str]); 6] = [
    ("types", &[]),
    (
        "storage",
        &[
            "read",
            "write",
            "update-if-value-is",
            "update-if-version-is",
        ],
    ),
    ("blob", &["size", "open", "[method]reader.read"]),
    ("clock", &["now"]),
    ("random", &["number", "bytes"]),
    ("logging", &["log"]),
];
/// What a worker calls.
const EXPORTS: [&str; 2] = ["classes", "run"];
const PAGE_BITS: u32 = 16;

/// What a component says of itself.
#[derive(Debug, Default)]
pub struct Component {
    pub imports: Vec<Import>,
    pub exports: Vec<String>,
    /// Those of its modules, in order.
    pub memories: Vec<Memory>,
    /// Tools and languages with their versions, by name.
    pub producers: BTreeMap<String, String>,
}

/// One import.
#[derive(Debug)]
pub struct Import {
    /// Such as `marionette:operator/storage@1.0.0`.
    pub name: String,
    /// Of an interface.
    pub functions: Vec<String>,
}

/// A linear memory, without what others import.
#[derive(Debug)]
pub struct Memory {
    pub initial_bytes: u64,
    /// Absent: as much as the worker gives.
    pub maximum_bytes: Option<u64>,
}

impl From<MemoryType> for Memory {
    fn from(memory: MemoryType) -> Self {
        let page_bits = memory.page_size_log2.unwrap_or(PAGE_BITS);
        let bytes = |pages: u64| pages.saturating_mul(1 << page_bits.min(PAGE_BITS));
        Self {
            initial_bytes: bytes(memory.initial),
            maximum_bytes: memory.maximum.map(bytes),
        }
    }
}

impl Import {
    /// The interface and version, where it is one of the contract.
    fn of_contract(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix(PACKAGE)?.split_once('@')
    }

    /// What of it this worker lacks, by name; a call of it traps.
    pub fn unknown(&self) -> Vec<String> {
        let known = self.of_contract().and_then(|(interface, version)| {
            let found = INTERFACES.iter().find(|(name, _)| *name == interface);
            found.filter(|_| major(version) == major(VERSION))
        });
        match known {
            None => vec![self.name.clone()],
            Some((_, known)) => {
                let unknown = self.functions.iter();
                let unknown = unknown.filter(|name| !known.contains(&name.as_str()));
                unknown
                    .map(|name| format!("{}#{name}", self.name))
                    .collect()
            }
        }
    }
}

impl Component {
    /// The language of its source, as far as its makers tell.
    pub fn language(&self) -> Option<&'static str> {
        language(self.producers.keys().map(String::as_str))
    }

    /// What it imports and no worker has.
    pub(super) fn warnings(&self) -> Vec<String> {
        let unknown = self.imports.iter().flat_map(Import::unknown);
        unknown
            .map(|name| format!("it imports {name}, which no worker has: it traps when called"))
            .collect()
    }

    /// How it breaks the contract, as far as names tell.
    pub(super) fn contract_reasons(&self) -> Vec<String> {
        let missing = EXPORTS.iter();
        let missing = missing.filter(|name| !self.exports.iter().any(|export| export == *name));
        let mut reasons: Vec<String> = missing
            .map(|name| format!("it does not export `{name}`, which the contract demands"))
            .collect();
        let versions = self.imports.iter().filter_map(Import::of_contract);
        let other: BTreeSet<&str> = versions
            .map(|(_, version)| version)
            .filter(|version| major(version) != major(VERSION))
            .collect();
        let other = other.into_iter().map(|version| {
            format!("it was built for version {version} of the contract, this worker has {VERSION}")
        });
        reasons.extend(other);
        reasons
    }
}

/// What tells incompatible versions apart.
fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or_default()
}

/// Reads the sections. Errors: what is malformed, and where.
pub fn scan(bytes: &[u8]) -> Result<Component, String> {
    let mut scan = Scan::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let read = payload.and_then(|payload| scan.payload(&payload));
        read.map_err(|error| error.to_string())?;
    }
    Ok(scan.component)
}

#[derive(Default)]
struct Scan {
    component: Component,
    /// How many modules and components are around the current section; 1 in the outermost.
    depth: usize,
    /// The outermost component's types, each with its functions where it is one of an instance.
    types: Vec<Vec<String>>,
}

impl Scan {
    fn payload(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { .. } => self.depth += 1,
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),
            Payload::MemorySection(memories) => {
                for memory in memories.clone() {
                    self.component.memories.push(memory?.into());
                }
            }
            Payload::CustomSection(section) => self.producers(section),
            outermost if self.depth == 1 => self.outermost(outermost)?,
            _ => {}
        }
        Ok(())
    }

    fn outermost(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ComponentTypeSection(types) => {
                for found in types.clone() {
                    self.types.push(functions(&found?));
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    if is_type(&alias?) {
                        self.types.push(Vec::new());
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    self.import(&import?);
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Type {
                        self.types.push(Vec::new());
                    } else {
                        self.component.exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: &ComponentImport<'_>) {
        let functions = match import.ty {
            ComponentTypeRef::Type(_) => return self.types.push(Vec::new()),
            ComponentTypeRef::Instance(index) => self.types.get(index as usize),
            _ => None,
        };
        self.component.imports.push(Import {
            name: import.name.name.to_owned(),
            functions: functions.cloned().unwrap_or_default(),
        });
    }

    /// Who made it. A section that cannot be read says nothing; it harms nobody.
    fn producers(&mut self, section: &CustomSectionReader<'_>) {
        let KnownCustom::Producers(fields) = section.as_known() else {
            return;
        };
        let values = fields.into_iter().flatten();
        for value in values.flat_map(|field| field.values.into_iter().flatten()) {
            let (name, version) = (value.name.to_owned(), value.version.to_owned());
            self.component.producers.insert(name, version);
        }
    }
}

/// What an instance of this type exports as functions.
fn functions(found: &ComponentType<'_>) -> Vec<String> {
    let ComponentType::Instance(declarations) = found else {
        return Vec::new();
    };
    let exported = declarations
        .iter()
        .filter_map(|declaration| match declaration {
            InstanceTypeDeclaration::Export {
                name,
                ty: ComponentTypeRef::Func(_),
            } => Some(name.name.to_owned()),
            _ => None,
        });
    exported.collect()
}

fn is_type(alias: &ComponentAlias<'_>) -> bool {
    matches!(
        alias,
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Type,
            ..
        } | ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::Type,
            ..
        }
    )
}
