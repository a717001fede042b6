//! The keys, and the protocol without its framing (draft-miller-ssh-agent): from a request to an
//! answer.

use ed25519_compact::KeyPair;

// The first byte of a message is its type.
const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const ADD_IDENTITY: u8 = 17;
const REMOVE_IDENTITY: u8 = 18;
const REMOVE_ALL_IDENTITIES: u8 = 19;
const ADD_ID_CONSTRAINED: u8 = 25;

/// The only supported type of keys, by its name in keys and signatures.
const ED25519: &[u8] = b"ssh-ed25519";

/// Limits with which the list of all keys fits into one message.
const KEYS_MAX: usize = 128;
const COMMENT_MAX: usize = 1024;

/// The agent's keys.
#[derive(Default)]
pub struct Agent {
    /// In the order in which they were added, without duplicates.
    keys: Vec<Key>,
}

struct Key {
    /// Wiped when it is dropped.
    pair: KeyPair,
    comment: Vec<u8>,
}

impl Key {
    /// The public key in its wire form, which also identifies the key.
    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put_string(&mut blob, ED25519);
        put_string(&mut blob, &self.pair.pk[..]);
        blob
    }
}

impl Agent {
    /// The answer to a request. Any error is a failure without a reason: the
    /// protocol has none.
    pub fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        self.try_answer(request).unwrap_or_else(|| vec![FAILURE])
    }

    fn try_answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let (&kind, contents) = request.split_first()?;
        let contents = Reader(contents);
        match kind {
            REQUEST_IDENTITIES => self.list(contents),
            SIGN_REQUEST => self.sign(contents),
            // Constraints follow the key. None are supported, so they are an error.
            ADD_IDENTITY | ADD_ID_CONSTRAINED => self.add(contents),
            REMOVE_IDENTITY => self.remove(contents),
            REMOVE_ALL_IDENTITIES => self.remove_all(contents),
            _ => None,
        }
    }

    fn list(&self, contents: Reader<'_>) -> Option<Vec<u8>> {
        contents.end()?;
        let mut answer = vec![IDENTITIES_ANSWER];
        answer.extend((self.keys.len() as u32).to_be_bytes());
        for key in &self.keys {
            put_string(&mut answer, &key.blob());
            put_string(&mut answer, &key.comment);
        }
        Some(answer)
    }

    fn sign(&self, mut contents: Reader<'_>) -> Option<Vec<u8>> {
        let at = self.find(contents.string()?)?;
        let data = contents.string()?;
        let flags = contents.u32()?;
        contents.end()?;
        // The defined flags select hashes of RSA keys only.
        if flags != 0 {
            return None;
        }
        let mut signature = Vec::new();
        put_string(&mut signature, ED25519);
        put_string(&mut signature, self.keys[at].pair.sk.sign(data, None).as_ref());
        let mut answer = vec![SIGN_RESPONSE];
        put_string(&mut answer, &signature);
        Some(answer)
    }

    fn add(&mut self, mut contents: Reader<'_>) -> Option<Vec<u8>> {
        if contents.string()? != ED25519 {
            return None;
        }
        let public = contents.string()?;
        let pair = KeyPair::from_slice(contents.string()?).ok()?;
        let comment = contents.string()?.to_vec();
        contents.end()?;
        // Signatures with a foreign public key would reveal the secret key.
        let is_pair = pair.validate().is_ok() && pair.pk[..] == *public;
        if !is_pair || comment.len() > COMMENT_MAX {
            return None;
        }
        let key = Key { pair, comment };
        match self.find(&key.blob()) {
            Some(at) => self.keys[at] = key,
            None if self.keys.len() < KEYS_MAX => self.keys.push(key),
            None => return None,
        }
        Some(vec![SUCCESS])
    }

    fn remove(&mut self, mut contents: Reader<'_>) -> Option<Vec<u8>> {
        let at = self.find(contents.string()?)?;
        contents.end()?;
        self.keys.remove(at);
        Some(vec![SUCCESS])
    }

    fn remove_all(&mut self, contents: Reader<'_>) -> Option<Vec<u8>> {
        contents.end()?;
        self.keys.clear();
        Some(vec![SUCCESS])
    }

    fn find(&self, blob: &[u8]) -> Option<usize> {
        self.keys.iter().position(|key| key.blob() == blob)
    }
}

/// The unread rest of a request, in the types of RFC 4251, section 5. An incomplete number or string
/// is `None`.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let size = self.u32()? as usize;
        let (string, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(string)
    }

    /// Checks that nothing is left.
    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    out.extend((string.len() as u32).to_be_bytes());
    out.extend(string);
}
