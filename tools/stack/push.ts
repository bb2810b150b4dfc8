import { parseReference } from '@soci/image';
import type { Login } from '@soci/testing';
import { pushLayout } from '../image/push.ts';

// push.ts LAYOUT REFERENCE, the login in STACK_LOGIN: a command line can be read by every user.
const [layout, reference] = process.argv.slice(2);
if (layout === undefined || reference === undefined) throw new Error('usage: push.ts LAYOUT REFERENCE');
await pushLayout(layout, parseReference(reference), JSON.parse(process.env['STACK_LOGIN'] ?? '') as Login);
