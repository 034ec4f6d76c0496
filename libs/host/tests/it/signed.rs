//! Tokens of the mesh: what is accepted, and everything that is not.

use std::time::Duration;

use runmesh_host::signed::{KeyError, MeshKey, Signer, TokenError, Verifier};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    org: String,
    fence: u64,
}

fn claims() -> Claims {
    Claims { org: "org_1".to_owned(), fence: 7 }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_was_signed_comes_back() {
    let key = MeshKey::generate().unwrap();
    let token = Signer::new(&key, "run+jwt", "mesh").sign(&claims(), MINUTE).unwrap();
    // The key survives its way through a file.
    let same = MeshKey::from_hex(&key.expose_hex()).unwrap();
    let verified = Verifier::new(&same, "run+jwt", "mesh").verify::<Claims>(&token).unwrap();
    assert_eq!(verified.claims, claims());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 58..=now + 61).contains(&verified.expires_at));
}

#[test]
fn another_key_type_or_audience_is_refused() {
    let key = MeshKey::generate().unwrap();
    let token = Signer::new(&key, "run+jwt", "mesh").sign(&claims(), MINUTE).unwrap();
    for verifier in [
        Verifier::new(&MeshKey::generate().unwrap(), "run+jwt", "mesh"),
        Verifier::new(&key, "hop+jwt", "mesh"),
        Verifier::new(&key, "run+jwt", "other"),
    ] {
        assert_eq!(verifier.verify::<Claims>(&token), Err(TokenError::Invalid));
    }
}

#[test]
fn an_expired_token_is_refused_beyond_the_leeway() {
    let key = MeshKey::generate().unwrap();
    let verifier = Verifier::new(&key, "run+jwt", "mesh");
    // Made by hand, since nobody signs into the past.
    let now = jsonwebtoken::get_current_timestamp();
    let signed = |exp: u64| {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.typ = Some("run+jwt".to_owned());
        let body = serde_json::json!({ "aud": "mesh", "exp": exp, "claims": claims() });
        let bytes: Vec<u8> = (0..key.expose_hex().len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&key.expose_hex()[i..i + 2], 16).unwrap())
            .collect();
        jsonwebtoken::encode(&header, &body, &jsonwebtoken::EncodingKey::from_secret(&bytes)).unwrap()
    };
    assert!(verifier.verify::<Claims>(&signed(now - 1)).is_ok(), "clocks differ a little");
    assert_eq!(verifier.verify::<Claims>(&signed(now - 60)), Err(TokenError::Expired));
}

#[test]
fn a_token_without_signature_or_with_another_algorithm_is_refused() {
    let key = MeshKey::generate().unwrap();
    let verifier = Verifier::new(&key, "run+jwt", "mesh");
    let token = Signer::new(&key, "run+jwt", "mesh").sign(&claims(), MINUTE).unwrap();
    let (head, tail) = token.split_once('.').unwrap();
    let payload = tail.split_once('.').unwrap().0;
    // {"alg":"none","typ":"run+jwt"} and {"alg":"HS512","typ":"run+jwt"}
    for forged_head in ["eyJhbGciOiJub25lIiwidHlwIjoicnVuK2p3dCJ9", "eyJhbGciOiJIUzUxMiIsInR5cCI6InJ1bitqd3QifQ"] {
        for forged in [format!("{forged_head}.{payload}."), format!("{forged_head}.{tail}")] {
            assert_eq!(verifier.verify::<Claims>(&forged), Err(TokenError::Invalid));
        }
    }
    assert_eq!(verifier.verify::<Claims>(&format!("{head}.{payload}.")), Err(TokenError::Invalid));
    for rubbish in ["", ".", "..", "a.b.c", &"x".repeat(20_000)] {
        assert_eq!(verifier.verify::<Claims>(rubbish), Err(TokenError::Invalid));
    }
}

#[test]
fn keys_are_checked_and_do_not_print() {
    assert!(matches!(MeshKey::from_hex("zz"), Err(KeyError::NotHex)));
    assert!(matches!(MeshKey::from_hex("abc"), Err(KeyError::NotHex)));
    assert!(matches!(MeshKey::from_hex("é"), Err(KeyError::NotHex)));
    assert!(matches!(MeshKey::from_hex("aabb"), Err(KeyError::TooShort(2))));
    let key = MeshKey::generate().unwrap();
    assert_ne!(key.expose_hex(), MeshKey::generate().unwrap().expose_hex());
    assert!(!format!("{key:?}").contains(&key.expose_hex()[..8]));
}

#[test]
fn a_key_is_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let key = MeshKey::generate().unwrap();
    std::fs::write(&path, format!("{}\n", key.expose_hex())).unwrap();
    assert_eq!(MeshKey::from_file(&path).unwrap().expose_hex(), key.expose_hex());
    assert!(matches!(MeshKey::from_file(&folder.path().join("none")), Err(KeyError::Io(_))));
}
