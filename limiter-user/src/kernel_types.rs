//! The running kernel's type information (BTF): members of structures and values of enumerations,
//! by name. What is looked for, and what it means if it is not there, is up to who asks.

use std::{collections::BTreeMap, fs};

use anyhow::Context as _;
use btf_rs::{Btf, BtfType as _, Struct, Type};

/// Where the kernel keeps it.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Nested anonymous structures and unions that are searched: the kernel has two levels here.
const DEPTH_MAX: u32 = 4;

/// The kernel's types: some ten megabytes, to be dropped once everything is asked.
pub struct KernelTypes(Btf);

impl KernelTypes {
    /// Reads the types of the running kernel.
    ///
    /// # Errors
    ///
    /// When the kernel has no type information, or none that can be read.
    pub fn read() -> anyhow::Result<Self> {
        // Whole, and then from memory: from a file every type is a system call, and there are 100,000.
        let bytes = fs::read(VMLINUX).with_context(|| format!("cannot read {VMLINUX}"))?;
        Btf::from_bytes(&bytes).map(Self).with_context(|| format!("cannot understand {VMLINUX}"))
    }

    /// Returns the offset of a structure's member in bytes, also of one inside unnamed members.
    pub(crate) fn offset_of(&self, structure: &str, member: &str) -> Option<u32> {
        self.0.resolve_types_by_name(structure).ok()?.iter().find_map(|found| match found {
            Type::Struct(found) => self.member_of(found, member, DEPTH_MAX),
            _ => None,
        })
    }

    fn member_of(&self, structure: &Struct, name: &str, depth: u32) -> Option<u32> {
        structure.members.iter().find_map(|member| {
            let at = member.bit_offset() / 8;
            let found = self.0.resolve_name(member).unwrap_or_default();
            if found == name {
                return Some(at);
            }
            if !found.is_empty() || depth == 0 {
                return None;
            }
            match self.0.resolve_type_by_id(member.get_type_id()?).ok()? {
                Type::Struct(inner) | Type::Union(inner) => {
                    Some(at + self.member_of(&inner, name, depth - 1)?)
                }
                _ => None,
            }
        })
    }

    /// Returns the names of an enumeration's values, if there is such an enumeration.
    pub(crate) fn values_of(&self, enumeration: &str) -> Option<BTreeMap<u32, String>> {
        self.0.resolve_types_by_name(enumeration).ok()?.iter().find_map(|found| match found {
            Type::Enum(found) => Some(
                found
                    .members
                    .iter()
                    .filter_map(|member| Some((member.val(), self.0.resolve_name(member).ok()?)))
                    .collect(),
            ),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members are found where they are, through unnamed structures too; what is not there is not found.
    #[test]
    fn members_and_values_have_names() {
        let types = KernelTypes::read().unwrap();
        // `skc_daddr` is the first member of the first unnamed union of the first member.
        assert_eq!(types.offset_of("sock_common", "skc_daddr"), Some(0));
        assert_eq!(types.offset_of("sock_common", "skc_rcv_saddr"), Some(4));
        assert_eq!(types.offset_of("sock_common", "of_no_kernel"), None);
        assert_eq!(types.offset_of("no_structure", "skc_daddr"), None);
        // `include/net/tcp.h`.
        let states = types.values_of("tcp_ca_state").unwrap();
        assert_eq!(states[&0], "TCP_CA_Open");
        assert!(types.values_of("sock_common").is_none());
    }
}
