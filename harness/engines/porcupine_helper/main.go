// A second opinion on linearizability: reads prepared operations, prints the word of Porcupine.
//
// The first line of the standard input is {"model", "init", "time_limit_ns"}; each other one an
// operation {"object", "f", "argument", "value", "known", "call", "return"}. Values are JSON in one
// canonical form, so that equal values are equal texts. What is not known may have happened at any
// time after its call, or never: it returns after everything else. The answer is one line of JSON:
// {"result": "Ok" | "Illegal" | "Unknown"}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

type question struct {
	Model     string          `json:"model"`
	Init      json.RawMessage `json:"init"`
	TimeLimit int64           `json:"time_limit_ns"`
}

type call struct {
	Object   int             `json:"object"`
	F        string          `json:"f"`
	Argument json.RawMessage `json:"argument"`
	Value    json.RawMessage `json:"value"`
	Known    bool            `json:"known"`
	Call     int64           `json:"call"`
	Return   int64           `json:"return"`
}

// deed is what a call does, taken apart once and not at every step.
type deed struct {
	object int
	f      string
	known  bool
	texts  []string // values, of a cas both
	hit    bool     // a cas that found what it looked for
	micros []micro
}

type micro struct {
	write bool
	key   string
	value string
}

const null = "null"

func main() {
	if err := answer(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func answer(from io.Reader, to io.Writer) error {
	lines := json.NewDecoder(bufio.NewReaderSize(from, 1<<20))
	var asked question
	if err := lines.Decode(&asked); err != nil {
		return err
	}
	var operations []porcupine.Operation
	for lines.More() {
		var one call
		if err := lines.Decode(&one); err != nil {
			return err
		}
		done, err := understand(asked.Model, one)
		if err != nil {
			return err
		}
		operations = append(operations, porcupine.Operation{
			Input: done, Call: one.Call, Return: one.Return,
		})
	}
	model, err := modelOf(asked)
	if err != nil {
		return err
	}
	limit := time.Duration(asked.TimeLimit)
	result := porcupine.CheckOperationsTimeout(model, operations, limit)
	return json.NewEncoder(to).Encode(map[string]string{"result": string(result)})
}

func understand(model string, one call) (deed, error) {
	done := deed{object: one.Object, f: one.F, known: one.Known}
	switch {
	case model == "multi-register":
		var micros [][]json.RawMessage
		if err := json.Unmarshal(one.Value, &micros); err != nil {
			return done, err
		}
		for _, parts := range micros {
			write := text(parts[0]) == `"write"`
			done.micros = append(done.micros, micro{write, text(parts[1]), text(parts[2])})
		}
	case one.F == "cas":
		var parts []json.RawMessage
		if err := json.Unmarshal(one.Value, &parts); err != nil {
			return done, err
		}
		done.texts = []string{text(parts[0]), text(parts[1])}
		done.hit = len(parts) < 3 || text(parts[2]) == "true"
	case one.F == "read":
		done.texts = []string{text(one.Value)}
	case one.F == "write":
		done.texts = []string{text(one.Argument)}
	case one.F == "get":
		return done, unquote(one.Value, &done)
	case one.F == "put" || one.F == "append":
		return done, unquote(one.Argument, &done)
	}
	return done, nil
}

func unquote(raw json.RawMessage, done *deed) error {
	var plain string
	err := json.Unmarshal(raw, &plain)
	done.texts = []string{plain}
	return err
}

func text(raw json.RawMessage) string {
	if len(raw) == 0 {
		return null
	}
	return string(raw)
}

func modelOf(asked question) (porcupine.Model, error) {
	model := porcupine.Model{
		Partition: byObject,
		Hash: func(state interface{}) uint64 {
			sum := fnv.New64a()
			sum.Write([]byte(state.(string)))
			return sum.Sum64()
		},
	}
	switch asked.Model {
	case "register", "cas-register":
		initial := text(asked.Init)
		model.Init = func() interface{} { return initial }
		model.Step = func(state, input, _ interface{}) (bool, interface{}) {
			return stepRegister(state.(string), input.(deed), initial)
		}
	case "mutex":
		model.Init = func() interface{} { return "free" }
		model.Step = func(state, input, _ interface{}) (bool, interface{}) {
			return stepMutex(state.(string), input.(deed))
		}
	case "kv-string":
		var initial string
		if text(asked.Init) != null {
			if err := json.Unmarshal(asked.Init, &initial); err != nil {
				return model, err
			}
		}
		model.Init = func() interface{} { return initial }
		model.Step = func(state, input, _ interface{}) (bool, interface{}) {
			return stepString(state.(string), input.(deed))
		}
	case "multi-register":
		initial := map[string]json.RawMessage{}
		if text(asked.Init) != null {
			if err := json.Unmarshal(asked.Init, &initial); err != nil {
				return model, err
			}
		}
		known := map[string]string{}
		for key, value := range initial {
			known[key] = string(value)
		}
		model.Init = func() interface{} { return pack(known) }
		model.Step = func(state, input, _ interface{}) (bool, interface{}) {
			return stepMap(state.(string), input.(deed))
		}
	default:
		return model, fmt.Errorf("model %q; expected one that this program knows", asked.Model)
	}
	return model, nil
}

func byObject(history []porcupine.Operation) [][]porcupine.Operation {
	byNumber := map[int][]porcupine.Operation{}
	for _, operation := range history {
		number := operation.Input.(deed).object
		byNumber[number] = append(byNumber[number], operation)
	}
	var numbers []int
	for number := range byNumber {
		numbers = append(numbers, number)
	}
	sort.Ints(numbers)
	var parts [][]porcupine.Operation
	for _, number := range numbers {
		parts = append(parts, byNumber[number])
	}
	return parts
}

func stepRegister(state string, done deed, initial string) (bool, interface{}) {
	meant := func(value string) string {
		if value == null {
			return initial
		}
		return value
	}
	switch done.f {
	case "read":
		return !done.known || meant(done.texts[0]) == state, state
	case "write":
		return true, meant(done.texts[0])
	}
	found := meant(done.texts[0]) == state
	if done.known && found != done.hit {
		return false, state
	}
	if found {
		return true, meant(done.texts[1])
	}
	return true, state
}

func stepMutex(state string, done deed) (bool, interface{}) {
	from, to := "free", "held"
	if done.f == "release" {
		from, to = to, from
	}
	if state == from {
		return true, to
	}
	return !done.known, state
}

func stepString(state string, done deed) (bool, interface{}) {
	switch done.f {
	case "get":
		return !done.known || done.texts[0] == state, state
	case "put":
		return true, done.texts[0]
	}
	return true, state + done.texts[0]
}

func stepMap(state string, done deed) (bool, interface{}) {
	held := unpack(state)
	for _, one := range done.micros {
		if one.write {
			held[one.key] = one.value
		} else if done.known && one.value != null {
			if found, there := held[one.key]; !there || found != one.value {
				return false, state
			}
		}
	}
	return true, pack(held)
}

// pack makes one comparable text of a map; keys and values are JSON, which has no raw newline.
func pack(held map[string]string) string {
	lines := make([]string, 0, len(held))
	for key, value := range held {
		lines = append(lines, key+"\n"+value)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func unpack(state string) map[string]string {
	held := map[string]string{}
	if state == "" {
		return held
	}
	lines := strings.Split(state, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		held[lines[i]] = lines[i+1]
	}
	return held
}
