import { isTable } from './conform.ts';

/** Prints a configuration as TOML with indented tables, values before tables, as `config dump` of the Go snapshotter does. */
export function toToml(table: Readonly<Record<string, unknown>>): string {
  return `${tableLines(table, []).join('\n').trim()}\n`;
}

function tableLines(table: Readonly<Record<string, unknown>>, path: readonly string[]): string[] {
  const entries = Object.entries(table).filter(([, value]) => value !== undefined);
  const indent = '  '.repeat(path.length);
  const lines = entries.filter(([, value]) => !isTable(value)).map(([key, value]) => `${indent}${keyText(key)} = ${valueText(value)}`);
  for (const [key, value] of entries) {
    if (!isTable(value)) continue;
    const inner = [...path, key];
    if (lines.length > 0) lines.push('');
    lines.push(`${indent}[${inner.map(keyText).join('.')}]`, ...tableLines(value, inner));
  }
  return lines;
}

function keyText(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key);
}

function valueText(value: unknown): string {
  if (typeof value === 'string') return /['\n]/.test(value) ? JSON.stringify(value) : `'${value}'`;
  if (Array.isArray(value)) return `[${value.map(valueText).join(', ')}]`;
  if (isTable(value))
    return `{ ${Object.entries(value)
      .map(([key, inner]) => `${keyText(key)} = ${valueText(inner)}`)
      .join(', ')} }`;
  return String(value);
}
