package oidc

// The codes of refusals. They are part of the API and never reworded.
const (
	CodeMalformed    = "token_malformed"
	CodeAlgorithm    = "token_algorithm_refused"
	CodeIssuer       = "token_issuer_unknown"
	CodeKey          = "token_key_unknown"
	CodeSignature    = "token_signature_invalid"
	CodeExpired      = "token_expired"
	CodeNotYetValid  = "token_not_yet_valid"
	CodeLifetime     = "token_lifetime_too_long"
	CodeAudience     = "token_audience_mismatch"
	CodeParty        = "token_party_not_allowed"
	CodeOrganisation = "token_organisation_conflict"
	CodeSession      = "token_session_refused"
)

// Error is a refusal of a token. Its text is for the caller and holds nothing of
// the token.
type Error struct {
	Code   string
	Detail string
}

func (e *Error) Error() string { return e.Detail }

func malformed(detail string) *Error { return &Error{CodeMalformed, detail} }
