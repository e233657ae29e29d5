package engine

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// Why an engine does not start. Each has its own exit code (ExitCode), so that
// the parent process can tell them apart too.
var (
	// ErrLibMissing: there is no libchdb.so where it is looked for.
	ErrLibMissing = errors.New("engine library is missing")
	// ErrLibChecksum: the file is there and is not the one that was asked for.
	ErrLibChecksum = errors.New("engine library has the wrong checksum")
	// ErrDataDirInUse: another engine process holds the data directory.
	ErrDataDirInUse = errors.New("engine data directory is in use by another engine")
	// ErrConfig: a field of Config is missing or not allowed.
	ErrConfig = errors.New("engine configuration is not valid")
)

// Exit codes of a process that runs Serve, in the range that sysexits leaves
// free, so that a shell's own codes are not mistaken for them.
const (
	exitOther        = 1
	exitLibMissing   = 80
	exitLibChecksum  = 81
	exitDataDirInUse = 82
	exitConfig       = 83
)

// ExitCode is the code with which a process should end after Serve returned err.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrLibMissing):
		return exitLibMissing
	case errors.Is(err, ErrLibChecksum):
		return exitLibChecksum
	case errors.Is(err, ErrDataDirInUse):
		return exitDataDirInUse
	case errors.Is(err, ErrConfig):
		return exitConfig
	}
	return exitOther
}

// ErrorOfExit is the inverse of ExitCode: the error that a code stands for, or
// nil for a code that stands for none.
func ErrorOfExit(code int) error {
	switch code {
	case exitLibMissing:
		return ErrLibMissing
	case exitLibChecksum:
		return ErrLibChecksum
	case exitDataDirInUse:
		return ErrDataDirInUse
	case exitConfig:
		return ErrConfig
	}
	return nil
}

// Exception is an error as the ClickHouse engine words it: a code that clients
// branch on and the text `Code: N. DB::Exception: …`.
// Codes: src/Common/ErrorCodes.cpp in ClickHouse.
type Exception struct {
	Code    int
	Message string // the whole text, beginning with "Code: "
}

func (e *Exception) Error() string { return e.Message }

// The codes this package itself answers with.
const (
	codeBadArguments    = 36
	codeSyntaxError     = 62
	codeTooManyQueries  = 202
	codeCannotParse     = 27
	codeCannotWrite     = 75
	codeReadonly        = 164
	codeUnknownSetting  = 115
	codeAborted         = 236
	codeTooLarge        = 396 // TOO_MANY_ROWS_OR_BYTES
	codeTimeout         = 159 // TIMEOUT_EXCEEDED
	codeAuthFailed      = 516
	codeNotImplemented  = 48
	codeStdException    = 1001
	codeUnknownFormat   = 73
	codeQueryIsTooLarge = 158 // TOO_MANY_ROWS, used by servers for a statement over its limit
)

func exceptionf(code int, name, format string, args ...any) *Exception {
	return &Exception{Code: code, Message: fmt.Sprintf("Code: %d. DB::Exception: %s (%s)", code, fmt.Sprintf(format, args...), name)}
}

var codePrefix = regexp.MustCompile(`^Code: (\d+)\.`)

// parseException makes an Exception of the library's error text. A text without
// a code (it comes from the C++ runtime) gets STD_EXCEPTION, never none: an
// error without a code would read as success to a client that looks at codes.
func parseException(text string) *Exception {
	if m := codePrefix.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			return &Exception{Code: n, Message: text}
		}
	}
	return exceptionf(codeStdException, "STD_EXCEPTION", "%s", text)
}
