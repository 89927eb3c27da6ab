//! What a token may: one bit each.

/// A scope; the number is its bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Scope {
    /// Who the account is.
    AccountInfoRead = 0,
    /// Change that.
    AccountInfoWrite = 1,
    /// Names, listings and cursors.
    FilesMetadataRead = 2,
    /// Tags.
    FilesMetadataWrite = 3,
    /// Content.
    FilesContentRead = 4,
    /// Changes to the tree.
    FilesContentWrite = 5,
    /// For good.
    FilesPermanentDelete = 6,
    /// Who shares what.
    SharingRead = 7,
    /// Change that.
    SharingWrite = 8,
}

const SCOPES: [(Scope, &str); 9] = [
    (Scope::AccountInfoRead, "account_info.read"),
    (Scope::AccountInfoWrite, "account_info.write"),
    (Scope::FilesMetadataRead, "files.metadata.read"),
    (Scope::FilesMetadataWrite, "files.metadata.write"),
    (Scope::FilesContentRead, "files.content.read"),
    (Scope::FilesContentWrite, "files.content.write"),
    (Scope::FilesPermanentDelete, "files.permanent_delete"),
    (Scope::SharingRead, "sharing.read"),
    (Scope::SharingWrite, "sharing.write"),
];

/// All there are.
pub const ALL: u64 = (1 << SCOPES.len()) - 1;

impl Scope {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        SCOPES[self as usize].1
    }

    /// It is among these.
    #[must_use]
    pub fn is_in(self, scopes: u64) -> bool {
        scopes & (1 << self as u8) != 0
    }
}

/// The bits of names with spaces between them; `None` if one is unknown.
#[must_use]
pub fn parse(names: &str) -> Option<u64> {
    let bit = |name: &str| SCOPES.iter().find(|scope| scope.1 == name).map(|scope| 1 << scope.0 as u8);
    names.split_whitespace().try_fold(0, |bits, name| Some(bits | bit(name)?))
}

/// The names of these bits.
#[must_use]
pub fn text(scopes: u64) -> String {
    let names: Vec<&str> = SCOPES.iter().filter(|scope| scope.0.is_in(scopes)).map(|scope| scope.1).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_are_each_others_inverse() {
        assert!(SCOPES.iter().enumerate().all(|(at, scope)| scope.0 as usize == at));
        assert_eq!(parse(&text(ALL)), Some(ALL));
        assert_eq!(parse("files.content.read account_info.read"), Some(0b1_0001));
        assert_eq!(parse("files.content.eat"), None);
        assert_eq!(parse(""), Some(0));
    }
}
