// node --expose-internals llhttp.js
//
// Says what llhttp, which is the parser of Node's own HTTP server, makes of requests.
//
// On the standard input come cases, each of them: the number of requests, and for each the
// length of its bytes, then the bytes (numbers are 32 bits, little-endian). For each case a
// line of JSON goes to the standard output: for each request what llhttp had seen of it when
// it lacked its last byte (early: messages that were complete already), and with that byte.
'use strict';

const fs = require('fs');
const { internalBinding } = require('internal/test/binding'); // with --expose-internals
const { HTTPParser, methods, allMethods } = internalBinding('http_parser');
const names = allMethods || methods;

class Connection {
  constructor() {
    this.done = [];
    this.now = null;
    const p = this.parser = new HTTPParser();
    p.initialize(HTTPParser.REQUEST, {}, 1 << 20, 0);
    p[HTTPParser.kOnMessageBegin | 0] = () => {
      this.now = { fields: [], trailers: [], body: [] };
    };
    // Called where there are more fields than fit, and for trailers.
    p[HTTPParser.kOnHeaders | 0] = (fields, url) => {
      const m = this.now;
      if (m.head) m.trailers.push(...fields);
      else m.fields.push(...fields);
      if (!m.head && url) m.target = (m.target || '') + url;
    };
    p[HTTPParser.kOnHeadersComplete | 0] = (major, minor, fields, method, url, status, text, upgrade, keepAlive) => {
      const m = this.now;
      m.head = true;
      if (fields) m.fields.push(...fields);
      if (url !== undefined) m.target = (m.target || '') + url;
      Object.assign(m, { version: [major, minor], method: names[method], upgrade, keepAlive });
      return 0;
    };
    p[HTTPParser.kOnBody | 0] = (b, from, length) => {
      this.now.body.push(Buffer.from(from === undefined ? b : b.subarray(from, from + length)));
    };
    p[HTTPParser.kOnMessageComplete | 0] = () => {
      const m = this.now;
      m.body = Buffer.concat(m.body).toString('base64');
      this.done.push(m);
      this.fresh = m.upgrade || !m.keepAlive; // what follows is not for this parser
    };
  }

  // Returns the name of the error, if there is one.
  feed(bytes) {
    if (bytes.length === 0) return '';
    const n = this.parser.execute(bytes);
    if (n instanceof Error) return n.code || n.message;
    return n === bytes.length ? '' : 'LEFT';
  }
}

function decide(requests) {
  const out = [];
  let c = new Connection();
  for (const r of requests) {
    const before = c.done.length;
    const answer = { early: 0, error: c.feed(r.subarray(0, -1)) };
    answer.early = c.done.length - before;
    if (!answer.error) answer.error = c.feed(r.subarray(-1));
    answer.seen = c.done.slice(before);
    out.push(answer);
    if (answer.error) break;
    if (c.fresh) c = new Connection();
  }
  return out;
}

let have = Buffer.alloc(0);
const piece = Buffer.alloc(1 << 16);

function read(n) {
  while (have.length < n) {
    const got = fs.readSync(0, piece, 0, piece.length, null);
    if (got === 0) process.exit(0);
    have = Buffer.concat([have, piece.subarray(0, got)]);
  }
  const b = Buffer.from(have.subarray(0, n));
  have = have.subarray(n);
  return b;
}

function say(what) {
  let b = Buffer.from(JSON.stringify(what) + '\n');
  while (b.length > 0) b = b.subarray(fs.writeSync(1, b));
}

say({ llhttp: process.versions.llhttp, node: process.version });
for (;;) {
  const n = read(4).readUInt32LE();
  const lengths = [];
  for (let i = 0; i < n; i++) lengths.push(read(4).readUInt32LE());
  const requests = lengths.map(read);
  say(decide(requests));
}
