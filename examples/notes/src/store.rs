//! The notes on the disk.

use crate::Failure;
use crate::protocol::Note;
use redb::{Database, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::path::Path;

const NOTES: TableDefinition<'_, u64, &str> = TableDefinition::new("notes");

/// Why the store was not opened.
pub enum NotOpened {
    /// Another process has it open.
    InUse,
    Failed(Failure),
}

/// A note is on the disk when a function that keeps it has returned: a commit is a sync.
pub struct Store {
    database: Database,
}

impl Store {
    pub fn open(directory: &Path) -> Result<Store, NotOpened> {
        let failed =
            |error: Failure| NotOpened::Failed(format!("{}: {error}", directory.display()).into());
        std::fs::create_dir_all(directory).map_err(|error| failed(error.into()))?;
        let database = match Database::create(directory.join("notes.redb")) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(NotOpened::InUse),
            opened => opened.map_err(|error| failed(error.into()))?,
        };
        let store = Store { database };
        // So that the table is there to be read.
        store.import(Vec::new()).map_err(failed)?;
        Ok(store)
    }

    /// Keeps a note; returns its number.
    pub fn add(&self, text: &str) -> Result<u64, Failure> {
        let kept = self.import(vec![text.to_owned()])?;
        Ok(kept.first().map_or(0, |note| note.number))
    }

    /// Keeps all of these, or none if it fails.
    pub fn import(&self, texts: Vec<String>) -> Result<Vec<Note>, Failure> {
        let mut kept = Vec::with_capacity(texts.len());
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(NOTES)?;
            let mut number = table.last()?.map_or(0, |(last, _)| last.value());
            for text in texts {
                number += 1;
                table.insert(number, text.as_str())?;
                kept.push(Note { number, text });
            }
        }
        transaction.commit()?;
        Ok(kept)
    }

    pub fn get(&self, number: u64) -> Result<Option<String>, Failure> {
        let table = self.database.begin_read()?.open_table(NOTES)?;
        Ok(table.get(number)?.map(|text| text.value().to_owned()))
    }

    pub fn len(&self) -> Result<u64, Failure> {
        Ok(self.database.begin_read()?.open_table(NOTES)?.len()?)
    }

    /// All notes as they are now, in order. `Err` of `take` ends it.
    pub fn each<E: From<Failure>>(
        &self,
        mut take: impl FnMut(Note) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: redb::Error| E::from(error.into());
        let transaction = self.database.begin_read().map_err(|it| failed(it.into()))?;
        let table = transaction.open_table(NOTES).map_err(|it| failed(it.into()))?;
        for entry in table.iter().map_err(|it| failed(it.into()))? {
            let (number, text) = entry.map_err(|it| failed(it.into()))?;
            take(Note { number: number.value(), text: text.value().to_owned() })?;
        }
        Ok(())
    }
}
