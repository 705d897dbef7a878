//! Typed values out of a TOML table.
//!
//! A value of the wrong type is noted and read as absent, so that reading goes on.

use toml::de::{DeTable, DeValue};

use super::{
    problem::{Problems, Span},
    schema::Section,
};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    /// What was written.
    pub(super) value: T,
    /// Where it is.
    pub(super) span: Span,
    /// Where its key is; the same place for an element of a list.
    pub(super) key: Span,
}

impl<T> At<T> {
    fn element(value: T, span: Span) -> Self {
        Self { value, key: span.clone(), span }
    }
}

/// A table that is being read.
pub(super) struct Reader<'a, 't> {
    section: &'static Section,
    table: &'a DeTable<'t>,
}

impl<'a, 't> Reader<'a, 't> {
    /// Begins to read a table: notes the keys that it should not have.
    pub(super) fn new(section: &'static Section, table: &'a DeTable<'t>, problems: &mut Problems) -> Self {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !section.keys.iter().any(|known| known.name == name) {
                let message = format!("unknown key `{name}` in {}", section.title);
                problems.add(key.span(), message, section.help_for_unknown(name));
            }
        }
        Self { section, table }
    }

    /// Reads a string.
    pub(super) fn string(&self, key: &'static str, problems: &mut Problems) -> Option<At<String>> {
        self.typed(key, problems, |value| value.as_str().map(str::to_owned))
    }

    /// Reads a boolean.
    pub(super) fn boolean(&self, key: &'static str, problems: &mut Problems) -> Option<At<bool>> {
        self.typed(key, problems, DeValue::as_bool)
    }

    /// Reads an integer.
    pub(super) fn integer(&self, key: &'static str, problems: &mut Problems) -> Option<At<i64>> {
        self.typed(key, problems, integer)
    }

    /// Reads an integer or a word.
    pub(super) fn integer_or_word(
        &self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<OrWord<i64>>> {
        self.typed(key, problems, |value| or_word(value, integer))
    }

    /// Reads a table or a word.
    pub(super) fn table_or_word(
        &self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<OrWord<&'a DeTable<'t>>>> {
        self.typed(key, problems, |value| or_word(value, DeValue::as_table))
    }

    /// Reads a table.
    pub(super) fn table(&self, key: &'static str, problems: &mut Problems) -> Option<At<&'a DeTable<'t>>> {
        self.typed(key, problems, DeValue::as_table)
    }

    /// Reads a list of strings.
    pub(super) fn strings(&self, key: &'static str, problems: &mut Problems) -> Option<At<Vec<At<String>>>> {
        self.list(key, problems, |value| value.as_str().map(str::to_owned))
    }

    /// Reads a list of strings or a word.
    pub(super) fn strings_or_word(
        &self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<OrWord<Vec<At<String>>>>> {
        if let Some((_, value)) = self.entry(key)
            && value.get_ref().is_array()
        {
            let list = self.strings(key, problems)?;
            return Some(At { value: OrWord::Value(list.value), span: list.span, key: list.key });
        }
        let word = self.string(key, problems)?;
        Some(At { value: OrWord::Word(word.value), span: word.span, key: word.key })
    }

    /// Reads a list of integers.
    pub(super) fn integers(&self, key: &'static str, problems: &mut Problems) -> Option<At<Vec<At<i64>>>> {
        self.list(key, problems, integer)
    }

    /// Reads an array of tables, each with the place of its head.
    pub(super) fn tables(&self, key: &'static str, problems: &mut Problems) -> Vec<At<&'a DeTable<'t>>> {
        self.list(key, problems, DeValue::as_table).map_or_else(Vec::new, |list| list.value)
    }

    fn list<T>(
        &self,
        key: &'static str,
        problems: &mut Problems,
        convert: impl Fn(&'a DeValue<'t>) -> Option<T>,
    ) -> Option<At<Vec<At<T>>>> {
        let list = self.typed(key, problems, DeValue::as_array)?;
        let mut values = Vec::with_capacity(list.value.len());
        for element in list.value {
            match convert(element.get_ref()) {
                Some(value) => values.push(At::element(value, element.span())),
                None => self.wrong(key, element.get_ref(), element.span(), "lists", problems),
            }
        }
        Some(At { value: values, span: list.span, key: list.key })
    }

    fn typed<T>(
        &self,
        key: &'static str,
        problems: &mut Problems,
        convert: impl Fn(&'a DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let (key_span, value) = self.entry(key)?;
        let converted = convert(value.get_ref());
        if converted.is_none() {
            self.wrong(key, value.get_ref(), value.span(), "is", problems);
        }
        converted.map(|converted| At { value: converted, span: value.span(), key: key_span })
    }

    fn entry(&self, key: &'static str) -> Option<(Span, &'a toml::Spanned<DeValue<'t>>)> {
        debug_assert!(self.section.keys.iter().any(|known| known.name == key), "{key} is in the schema");
        self.table.get_key_value(key).map(|(key, value)| (key.span(), value))
    }

    /// Notes a value of the wrong type.
    fn wrong(&self, key: &str, value: &DeValue<'_>, span: Span, verb: &str, problems: &mut Problems) {
        let message = match value {
            // An integer is wrong here by its size, or where none is wanted.
            DeValue::Integer(number) if integer(value).is_none() => {
                format!("{} is too large", number.as_str())
            }
            _ => format!("`{key}` {verb} {}", described(value)),
        };
        problems.add(span, message, format!("`{key}` takes {}", self.section.takes(key)));
    }
}

/// A value, or a word that stands for one.
#[derive(Clone, Debug)]
pub(super) enum OrWord<T> {
    /// The value.
    Value(T),
    /// The word.
    Word(String),
}

fn or_word<'a, 't, T>(
    value: &'a DeValue<'t>,
    convert: impl Fn(&'a DeValue<'t>) -> Option<T>,
) -> Option<OrWord<T>> {
    value.as_str().map(|word| OrWord::Word(word.to_owned())).or_else(|| convert(value).map(OrWord::Value))
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Returns what a value is, with its article.
fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
