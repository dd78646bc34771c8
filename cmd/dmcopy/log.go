package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	logrusslog "github.com/sirupsen/logrus/hooks/slog"
)

// newLog makes the only logrus logger of the program.
func newLog(w io.Writer, level logrus.Level, objects bool) *slog.Logger {
	sink := logrus.New()
	sink.SetOutput(w)
	sink.SetLevel(level)
	sink.SetFormatter(plainLog{})
	if objects {
		sink.SetFormatter(&objectLog{logrus.JSONFormatter{
			DisableHTMLEscape: true, FieldMap: logrus.FieldMap{logrus.FieldKeyMsg: "message"},
		}})
	}
	return slog.New(logrusslog.NewHandler(sink, nil))
}

// plainLog is a log for people: it looks like the other messages.
type plainLog struct{}

// Format implements [logrus.Formatter].
func (plainLog) Format(e *logrus.Entry) ([]byte, error) {
	var details []string
	why := ""
	for key, value := range e.Data {
		if key == logrus.ErrorKey {
			if err, is := value.(error); is {
				value = oneLine(err)
			}
			why = fmt.Sprintf(": %v", value)
			continue
		}
		details = append(details, fmt.Sprintf("%s %v", key, value))
	}
	slices.SortFunc(details, cmp.Compare)
	text := e.Message
	if len(details) > 0 {
		text += " (" + strings.Join(details, ", ") + ")"
	}
	return []byte("dmcopy: " + e.Level.String() + ": " + line(text+why) + "\n"), nil
}

// objectLog is a log for programs, of which each line tells what it is.
type objectLog struct{ logrus.JSONFormatter }

// Format implements [logrus.Formatter].
func (f *objectLog) Format(e *logrus.Entry) ([]byte, error) {
	typed := e.WithField("message_type", "log")
	typed.Level, typed.Message = e.Level, e.Message
	return f.JSONFormatter.Format(typed)
}
