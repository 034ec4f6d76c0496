//! Tokens of users: exact issuer and audience, the key's own algorithm, published keys by their id.

use std::time::Duration;

use runmesh_host::identity::{IdentityVerifier, LocalIssuer};
use runmesh_host::signed::{MeshKey, Signer, TokenError};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "mesh";
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_local_token_names_its_user() {
    let key = MeshKey::generate().unwrap();
    let token = LocalIssuer::new(&key, ISSUER, AUDIENCE).issue("you", Some("You"), MINUTE).unwrap();
    let identity = IdentityVerifier::local(&key, ISSUER, AUDIENCE).verify(&token).unwrap();
    assert_eq!((identity.issuer.as_str(), identity.subject.as_str(), identity.name.as_deref()), (ISSUER, "you", Some("You")));
}

#[test]
fn another_issuer_audience_key_or_kind_of_token_is_refused() {
    let key = MeshKey::generate().unwrap();
    let other = MeshKey::generate().unwrap();
    let verifier = IdentityVerifier::local(&key, ISSUER, AUDIENCE);
    for issuer in [
        LocalIssuer::new(&key, "https://issuer.example/", AUDIENCE),
        LocalIssuer::new(&key, ISSUER, "other"),
        LocalIssuer::new(&other, ISSUER, AUDIENCE),
    ] {
        assert_eq!(verifier.verify(&issuer.issue("you", None, MINUTE).unwrap()), Err(TokenError::Invalid));
    }
    let nobody = LocalIssuer::new(&key, ISSUER, AUDIENCE).issue("", None, MINUTE).unwrap();
    assert_eq!(verifier.verify(&nobody), Err(TokenError::Invalid));
    // A principal of a hop, even with the same key, is no user.
    let hop = Signer::new(&key, "hop+jwt", AUDIENCE).sign(&"you", MINUTE).unwrap();
    assert_eq!(verifier.verify(&hop), Err(TokenError::Invalid));
}

mod published {
    use super::*;

    /// An Ed25519 key (PKCS #8) made for this test alone.
    const PRIVATE_DER: &str = "302e020100300506032b657004220420d5b61e068b1e9903fc96ce362b88dee64b1cf6b9a59641730c24feb4d18a7d2d";
    const PUBLIC_X: &str = "f8uJTc37MEeMs1llSjVLSiP7Diud5ole7lbtfJlOsUg";

    fn jwks(kid: &str) -> String {
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"{kid}","x":"{PUBLIC_X}"}}]}}"#)
    }

    fn token(kid: &str) -> String {
        let private: Vec<u8> =
            (0..PRIVATE_DER.len()).step_by(2).map(|i| u8::from_str_radix(&PRIVATE_DER[i..i + 2], 16).unwrap()).collect();
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.kid = Some(kid.to_owned());
        let claims = serde_json::json!({ "iss": ISSUER, "aud": [AUDIENCE], "sub": "you", "exp": jsonwebtoken::get_current_timestamp() + 60 });
        jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_ed_der(&private)).unwrap()
    }

    #[test]
    fn a_key_is_found_by_its_id_and_may_rotate() {
        let verifier = IdentityVerifier::published(&jwks("one"), ISSUER, AUDIENCE).unwrap();
        assert_eq!(verifier.verify(&token("one")).unwrap().subject, "you");
        assert!(!verifier.knows_key_of(&token("two")));
        assert_eq!(verifier.verify(&token("two")), Err(TokenError::Invalid));

        assert!(verifier.replace_jwks("{}").is_err());
        assert!(verifier.verify(&token("one")).is_ok(), "the last good keys stay");
        verifier.replace_jwks(&jwks("two")).unwrap();
        assert!(verifier.verify(&token("two")).is_ok());
    }

    #[test]
    fn a_symmetric_key_in_a_public_document_is_passed_over() {
        let document = r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"one","k":"c2VjcmV0"}]}"#;
        assert!(IdentityVerifier::published(document, ISSUER, AUDIENCE).is_err());
    }

    #[test]
    fn a_token_signed_with_the_public_key_as_a_secret_is_refused() {
        let verifier = IdentityVerifier::published(&jwks("one"), ISSUER, AUDIENCE).unwrap();
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some("one".to_owned());
        let claims = serde_json::json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "you", "exp": jsonwebtoken::get_current_timestamp() + 60 });
        let forged =
            jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(PUBLIC_X.as_bytes())).unwrap();
        assert_eq!(verifier.verify(&forged), Err(TokenError::Invalid));
    }
}
