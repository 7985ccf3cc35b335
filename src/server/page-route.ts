// GET / and the files beside the page. They are read when they are asked for, so that an edited page needs no restart.

import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import type { FastifyInstance } from 'fastify';

/** What a page may need; anything else in its folder stays private. */
const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.webmanifest': 'application/manifest+json',
};

/**
 * One route for each file that is there now: no path of a request ever reaches the file system.
 * @param pagePath the HTML file; its siblings are served under their own names
 */
export function addPageRoutes(app: FastifyInstance, pagePath: string): void {
  const folder = dirname(pagePath);
  const serve = (url: string, path: string, contentType: string): void => {
    app.get(url, async (_request, reply) => {
      const content = await readFile(path);
      return reply.headers({ 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff' }).type(contentType).send(content);
    });
  };
  serve('/', pagePath, CONTENT_TYPES['.html'] as string);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const contentType = CONTENT_TYPES[extname(entry.name)];
    if (!entry.isFile() || entry.name.startsWith('.') || contentType === undefined || basename(pagePath) === entry.name) continue;
    serve(`/${encodeURIComponent(entry.name)}`, join(folder, entry.name), contentType);
  }
}
