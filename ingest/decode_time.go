package ingest

import "time"

// parseTime reads an RFC 3339 time, cuts it to milliseconds and returns it as
// Unix time. The standard library's parser also takes a comma, hours of one
// digit and offsets of more than a day, which RFC 3339 does not have; two
// producers that mean the same must not be read differently elsewhere.
func parseTime(b []byte) (millis int64, ok bool) {
	const pattern = "0000-00-00T00:00:00"
	if len(b) <= len(pattern) || len(b) > 64 {
		return 0, false
	}
	for i, want := range []byte(pattern) {
		if (want == '0' && !isDigit(b[i])) || (want != '0' && b[i] != want) {
			return 0, false
		}
	}
	year, month, day := 100*twoDigits(b)+twoDigits(b[2:]), twoDigits(b[5:]), twoDigits(b[8:])
	hour, minute, second := twoDigits(b[11:]), twoDigits(b[14:]), twoDigits(b[17:])
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day { // a day that the month does not have ran over into the next
		return 0, false
	}
	fraction, rest, ok := parseFraction(b[len(pattern):])
	if !ok {
		return 0, false
	}
	offset, ok := parseOffset(rest)
	return 1000*(t.Unix()-offset) + fraction, ok
}

func twoDigits(b []byte) int { return 10*int(b[0]-'0') + int(b[1]-'0') }

// parseFraction reads an optional fraction of a second and cuts it.
func parseFraction(b []byte) (millis int64, rest []byte, ok bool) {
	if b[0] != '.' {
		return 0, b, true
	}
	digits := 0
	for unit := int64(100); digits+1 < len(b) && isDigit(b[digits+1]); unit /= 10 {
		digits++
		millis += unit * int64(b[digits]-'0')
	}
	return millis, b[digits+1:], digits > 0
}

// parseOffset reads Z or +hh:mm or -hh:mm and returns seconds east of UTC.
func parseOffset(b []byte) (seconds int64, ok bool) {
	if len(b) == 1 {
		return 0, b[0] == 'Z'
	}
	if len(b) != len("+00:00") || b[3] != ':' || !isDigit(b[1]) || !isDigit(b[2]) || !isDigit(b[4]) || !isDigit(b[5]) {
		return 0, false
	}
	hours, minutes := twoDigits(b[1:]), twoDigits(b[4:])
	if hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds = int64(3600*hours + 60*minutes)
	switch b[0] {
	case '+':
		return seconds, true
	case '-':
		return -seconds, true
	}
	return 0, false
}
