//! Who may talk to whom: a certificate authority of one's own, and certificates by it.
//!
//! The example makes them when it starts. Real ones come from files.

use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use std::sync::Arc;

/// An error for a person to read.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The name that a server's certificate is for.
pub const SERVER: &str = "notes.example";

/// Signs the certificates of one application.
pub struct Authority {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// A certificate with its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Result<Authority, Failure> {
        Authority::with(KeyPair::generate()?)
    }

    /// The authority that has this key: what it has signed is good for all that have it.
    pub fn of_key(pem: &str) -> Result<Authority, Failure> {
        Authority::with(KeyPair::from_pem(pem)?)
    }

    /// Its key, as PEM: a secret.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    fn with(key: KeyPair) -> Result<Authority, Failure> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Ok(Authority { certificate: params.self_signed(&key)?, key })
    }

    /// A certificate for this name.
    pub fn issue(&self, name: &str) -> Result<Identity, Failure> {
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.certificate, &self.key)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Ok(Identity { chain: vec![certificate.der().clone()], key })
    }

    fn roots(&self) -> Result<RootCertStore, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone())?;
        Ok(roots)
    }

    /// A server that takes only clients with a certificate of this authority.
    pub fn server(&self, identity: Identity) -> Result<Arc<ServerConfig>, Failure> {
        let (provider, roots) = (provider(), Arc::new(self.roots()?));
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(identity.chain, identity.key)?;
        Ok(Arc::new(config))
    }

    /// A client that talks only to a server with a certificate of this authority.
    pub fn client(&self, identity: Identity) -> Result<Arc<ClientConfig>, Failure> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(identity.chain, identity.key)?;
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

pub fn server_name() -> Result<ServerName<'static>, Failure> {
    Ok(ServerName::try_from(SERVER)?)
}
