// Stands in for `serve` and `asr` of the real command: answers as a test asks it to, and remembers what it saw. Needs no model.

import { createServer, request as httpRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocketServer } from 'ws';

const [command, ...rest] = process.argv.slice(2);
const options = Object.fromEntries(rest.map((option) => option.replace(/^--/, '').split(/=(.*)/s)));
const environment = process.env;

/** What happened, in order, for tests to ask. */
const events = [];
let received = 0;
let sent = 0;
let isReady = environment.FAKE_NEVER_READY === undefined;

if ('until-stdin-ends' in options) process.stdin.resume().on('end', () => process.exit(0));
process.on('SIGTERM', () => {
  if (environment.FAKE_IGNORE_SIGTERM === undefined) process.exit(Number(environment.FAKE_SIGTERM_CODE ?? 0));
});
if (environment.FAKE_EXIT_AT_START !== undefined) {
  console.error('error: there is no GPU\n');
  process.exit(Number(environment.FAKE_EXIT_AT_START));
}

const json = (response, status, value, headers = {}) => {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers });
  response.end(JSON.stringify(value));
};
const error = (code) => ({ error: { code, message: `said the child: ${code}` } });

async function readAll(request) {
  let bytes = 0;
  for await (const chunk of request) bytes += chunk.length;
  return bytes;
}

/** What the gateway answers on the other socket. */
function askAsr(method, path, response, body) {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ socketPath: options.asr.replace('unix:', ''), method, path }, async (answer) => {
      answer.setEncoding('utf8');
      let text = '';
      for await (const chunk of answer) text += chunk;
      resolve({ status: answer.statusCode, headers: answer.headers, text });
    });
    asked.on('error', reject);
    response.on('close', () => asked.destroy());
    asked.end(body);
  });
}

const routes = {
  '/ready': (_request, response) => json(response, isReady ? 200 : 503, isReady ? { status: 'ready' } : error('not_ready')),
  '/metrics': (_request, response) => {
    response.end('# HELP whisper_fake_total Fakes.\n# TYPE whisper_fake_total counter\nwhisper_fake_total{kind="x"} 3\n');
  },
  '/events': (_request, response) => json(response, 200, { events, received, sent }),
  '/forget': (_request, response) => {
    events.length = received = sent = 0;
    json(response, 200, {});
  },
  '/unready': (_request, response) => {
    isReady = false;
    json(response, 200, {});
  },
  /** Ends `mode=pause`. */
  '/resume': (_request, response) => {
    for (const client of sockets.clients) client.resume();
    json(response, 200, {});
  },
  '/echo': async (request, response) => {
    const { headers, method, url, rawHeaders } = request;
    const bytes = await readAll(request);
    response.setHeader('x-twice', ['1', '2']);
    response.setHeader('set-cookie', 'a=b');
    json(response, 200, { method, url, headers, rawHeaders, bytes });
  },
  '/fixed': (_request, response) => {
    response.writeHead(200, { 'content-length': 5, 'content-encoding': 'gzip' });
    response.end('plain');
  },
  '/overloaded': (_request, response) => json(response, 503, error('overloaded'), { 'retry-after': '7' }),
  /** Takes nothing of the body. */
  '/early': (_request, response) => json(response, 413, error('payload_too_large')),
  /** Reads the body only when the test says so. */
  '/slow-read': async (request, response) => {
    await delay(Number(new URL(request.url, 'http://x').searchParams.get('ms')));
    for await (const chunk of request) received += chunk.length;
    json(response, 200, { bytes: received });
  },
  /** Chunks of 64 KiB for as long as they are taken. */
  '/endless': async (_request, response) => {
    const chunk = Buffer.alloc(65536);
    response.on('close', () => events.push('endless closed'));
    while (!response.destroyed) {
      sent += chunk.length;
      if (!response.write(chunk)) await new Promise((resolve) => response.once('drain', resolve).once('close', resolve));
    }
  },
  /** Says nothing. */
  '/silent': (_request, response) => {
    events.push('silent open');
    response.on('close', () => events.push('silent closed'));
  },
  '/cut-off': (_request, response) => {
    response.writeHead(200, { 'content-length': 10 });
    response.write('123', () => response.destroy());
  },
  '/reset': (request) => request.socket.destroy(),
  '/exit': (request) => process.exit(Number(new URL(request.url, 'http://x').searchParams.get('code'))),
  '/environment': (_request, response) => json(response, 200, { ...environment, arguments: process.argv.slice(2) }),
  '/ask-report': async (_request, response) => json(response, 200, await askAsr('GET', '/asr', response)),
  '/ask-window': async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    json(response, 200, await askAsr('POST', '/asr/windows', response, Buffer.concat(chunks)).catch(() => ({})));
  },
  '/asr': (_request, response) => json(response, 200, { replica: String(process.pid) }),
  '/asr/windows': async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('latin1');
    if (text === 'overload') return json(response, 503, error('overloaded'), { 'retry-after': '9' });
    if (text === 'die') process.exit(3);
    if (text === 'wait') {
      events.push('window open');
      response.on('close', () => events.push('window closed'));
      return;
    }
    json(response, 200, { text, type: request.headers['content-type'] });
  },
};

const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  (routes[path] ?? routes['/echo'])(request, response);
});

const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has('second') ? 'second' : false) });
sockets.on('headers', (headers) => headers.push('x-upgrade: yes', 'set-cookie: c=d'));
server.on('upgrade', (request, socket, head) => {
  const url = new URL(request.url, 'http://x');
  if (url.pathname === '/refused') {
    const body = JSON.stringify(error('overloaded'));
    socket.end(
      `HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 12\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    );
    return;
  }
  sockets.handleUpgrade(request, socket, head, (client) => {
    const mode = url.searchParams.get('mode');
    events.push('socket open');
    client.on('close', (code, reason) => events.push(`socket closed ${code} ${reason}`));
    client.on('error', () => undefined);
    if (mode === 'hello') client.send(JSON.stringify({ url: request.url, headers: request.headers, protocol: client.protocol }));
    if (mode === 'flood') void flood(client);
    if (mode === 'pause') client.pause();
    client.on('message', (message, isBinary) => {
      received += message.length;
      const text = message.toString();
      if (isBinary || !/^(close|terminate|resume)/.test(text)) return client.send(message, { binary: isBinary });
      const [verb, code, reason] = text.split(' ');
      if (verb === 'terminate') client.terminate();
      else if (code === undefined) client.close();
      else client.close(Number(code), reason);
    });
  });
});

/** Messages of 64 KiB for as long as they are taken. */
async function flood(client) {
  const message = Buffer.alloc(65536);
  while (client.readyState === client.OPEN) {
    await new Promise((resolve) => client.send(message, resolve));
    sent += message.length;
  }
}

server.listen(options.socket);
events.push(`started ${command}`);
