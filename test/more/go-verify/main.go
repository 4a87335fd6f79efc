// Command go-verify checks an Affidavit log, or one receipt, with code that is not ours: the note
// and tlog packages of the Go project (golang.org/x/mod/sumdb), which know nothing of Affidavit.
//
//	go-verify log <directory> <verifier key>
//	go-verify receipt <record file> <.tlog-proof file> <verifier key>
//
// The formats are c2sp.org/tlog-tiles, c2sp.org/tlog-checkpoint and c2sp.org/tlog-proof. The only
// difference to the Go checksum database is where a tile lives, which `files.ReadTiles` maps.
// Exit code 0: everything verified. 1: a finding, on standard error.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const tileHeight = 8

func main() {
	var report string
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "log":
		report, err = verifyLog(os.Args[2], os.Args[3])
	case len(os.Args) == 5 && os.Args[1] == "receipt":
		report, err = verifyReceipt(os.Args[2], os.Args[3], os.Args[4])
	default:
		err = fmt.Errorf("usage: go-verify log DIRECTORY VKEY | receipt RECORD PROOF VKEY")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "REFUSED:", err)
		os.Exit(1)
	}
	fmt.Println(report)
}

// verifyLog checks the checkpoint's signature, every tile under its root and every entry against
// its bundle.
func verifyLog(directory, vkey string) (string, error) {
	signed, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return "", err
	}
	tree, err := openCheckpoint(signed, vkey)
	if err != nil {
		return "", err
	}
	store := files(directory)
	reader := tlog.TileHashReader(tree, store)
	for first := int64(0); first < tree.N; first += 1 << tileHeight {
		width := tree.N - first
		if width > 1<<tileHeight {
			width = 1 << tileHeight
		}
		entries, err := store.bundle(first>>tileHeight, int(width))
		if err != nil {
			return "", err
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		// ReadHashes authenticates each tile it reads up to the signed root.
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return "", err
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != hashes[i] {
				return "", fmt.Errorf("entry %d is not the one the tree holds", first+int64(i))
			}
		}
	}
	return fmt.Sprintf("verified %d entries, root %v", tree.N, tree.Hash), nil
}

// verifyReceipt checks that the record is in the tree which the receipt's checkpoint signs.
func verifyReceipt(recordFile, proofFile, vkey string) (string, error) {
	record, err := os.ReadFile(recordFile)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(proofFile)
	if err != nil {
		return "", err
	}
	head, signed, ok := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != "c2sp.org/tlog-proof@v1" || len(lines) < 2 {
		return "", fmt.Errorf("not a tlog-proof")
	}
	lines = lines[1:]
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return "", fmt.Errorf("the proof has no index")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return "", err
	}
	var proof tlog.RecordProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return "", err
		}
		proof = append(proof, hash)
	}
	tree, err := openCheckpoint([]byte(signed), vkey)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(record)); err != nil {
		return "", err
	}
	return fmt.Sprintf("verified record %d of %d", index, tree.N), nil
}

// openCheckpoint checks the signature and that the log names itself as its key does.
func openCheckpoint(signed []byte, vkey string) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tree, fmt.Errorf("the checkpoint is not of log %s", verifier.Name())
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// files is a log directory, as a tlog.TileReader.
type files string

func (f files) Height() int                     { return tileHeight }
func (f files) SaveTiles([]tlog.Tile, [][]byte) {}
func (f files) path(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	if strings.HasPrefix(path, "data/") {
		path = "entries/" + strings.TrimPrefix(path, "data/")
	}
	return filepath.Join(string(f), "tile", path)
}

func (f files) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, width, err := f.read(tile)
		if err != nil {
			return nil, err
		}
		if len(data) != width*tlog.HashSize {
			return nil, fmt.Errorf("%s does not hold %d hashes", f.path(tile), width)
		}
		out[i] = data[:tile.W*tlog.HashSize]
	}
	return out, nil
}

// read falls back to the full tile, since a log may delete a partial tile once the full one exists.
// It also returns the width of what it read.
func (f files) read(tile tlog.Tile) ([]byte, int, error) {
	data, err := os.ReadFile(f.path(tile))
	if os.IsNotExist(err) && tile.W < 1<<tileHeight {
		tile.W = 1 << tileHeight
		data, err = os.ReadFile(f.path(tile))
	}
	return data, tile.W, err
}

// bundle reads the first `count` entries of bundle n: each is a big-endian length and its bytes.
func (f files) bundle(n int64, count int) ([][]byte, error) {
	tile := tlog.Tile{H: tileHeight, L: -1, N: n, W: count}
	data, width, err := f.read(tile)
	if err != nil {
		return nil, err
	}
	entries := make([][]byte, 0, width)
	for len(entries) < width {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%s is cut short", f.path(tile))
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:end])
		data = data[end:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%s holds more than %d entries", f.path(tile), width)
	}
	return entries[:count], nil
}
