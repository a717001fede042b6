//! The keys, and the protocol without its framing (draft-miller-ssh-agent): a request in, an
//! answer out.

use ed25519_compact::KeyPair;

// The first byte of a message says what it is.
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

/// The one kind of keys that is kept, as it is called in keys and in signatures.
const ED25519: &[u8] = b"ssh-ed25519";

/// Bounds that let the list of all keys fit into one message. Nobody is known to need more.
const KEYS_MAX: usize = 128;
const COMMENT_MAX: usize = 1024;

/// Some keys, and what can be done with them.
#[derive(Default)]
pub struct Agent {
    /// In the order in which they came; no two are the same.
    keys: Vec<Key>,
}

struct Key {
    /// Wiped when it is dropped.
    pair: KeyPair,
    comment: Vec<u8>,
}

impl Key {
    /// The public key as it is said on the wire, where it is also the key's name.
    fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put_string(&mut blob, ED25519);
        put_string(&mut blob, &self.pair.pk[..]);
        blob
    }
}

impl Agent {
    /// The answer to a request. Whatever is wrong with it, that is a failure without reasons: the
    /// protocol has no words for them.
    pub fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        self.try_answer(request).unwrap_or_else(|| vec![FAILURE])
    }

    fn try_answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let (&kind, contents) = request.split_first()?;
        let contents = Reader(contents);
        match kind {
            REQUEST_IDENTITIES => self.list(contents),
            SIGN_REQUEST => self.sign(contents),
            // What is behind the key is its constraints. None can be kept here, so both are one.
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
        // The flags that there are choose among the hashes of RSA keys.
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
        // With a public key that is not its own, a secret one can be worked out from its signatures.
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

/// What is left to be read of a request, in the types of RFC 4251, section 5. A number or a string
/// that is not all there is `None`.
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

    /// Nothing may be left.
    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    out.extend((string.len() as u32).to_be_bytes());
    out.extend(string);
}
