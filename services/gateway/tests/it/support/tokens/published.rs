//! An issuer that publishes its key: the Ed25519 key pair of RFC 8037, appendix A, which is nobody's secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The document with the public key under the name `kid`.
pub fn jwks(kid: &str) -> String {
    json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": kid, "x": PUBLIC}]}).to_string()
}

/// Ann's token, said to be signed with `kid`.
pub fn person(kid: &str) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(kid.to_owned());
    let key = [PKCS8_HEAD.to_vec(), URL_SAFE_NO_PAD.decode(PRIVATE).unwrap()].concat();
    let claims = json!({
        "iss": super::ISSUER, "aud": super::AUDIENCE, "sub": "ann", "exp": super::now() + 600, "orgs": ["acme"]
    });
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&key)).unwrap()
}
