import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

// Who may import whom. Every constraint whose source tag a project carries has to hold.
const base = ['layer:base'];
const format = ['layer:format', ...base];
const edge = ['layer:edge', ...base];
const domain = ['layer:domain', ...format];
const formatDirections = {
  tar: [],
  zlib: [],
  linux: [],
  ztoc: ['tar', 'zlib'],
  tree: ['ztoc'],
  erofs: ['tree'],
  fuse: ['tree', 'linux'],
};

/** @param {string[]} extra tags that may be imported besides, from anywhere */
function boundaries(extra) {
  const constraint = (sourceTag, tags) => ({ sourceTag, onlyDependOnLibsWithTags: [...tags, ...extra] });
  return {
    '@nx/enforce-module-boundaries': [
      'error',
      {
        allow: [],
        // A command of the CLI loads what it needs when it runs, also where another imports the same library at once.
        checkDynamicDependenciesExceptions: ['.*'],
        depConstraints: [
          constraint('type:app', ['type:lib']),
          constraint('layer:service', ['layer:domain', 'layer:edge', ...format]),
          constraint('layer:domain', domain),
          constraint('layer:edge', edge),
          constraint('layer:format', format),
          constraint('layer:base', base),
          constraint('type:testing', ['type:lib']),
          ...Object.entries(formatDirections).map(([name, may]) =>
            constraint(`format:${name}`, [...may.map((lib) => `format:${lib}`), ...base]),
          ),
        ],
      },
    ],
  };
}

export default tseslint.config(
  { ignores: ['**/dist', '**/node_modules', '**/gen', '.nx', 'tmp', '**/testdata'] },
  {
    files: ['apps/*/src/**/*.ts', 'libs/*/src/**/*.ts', 'tools/**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    plugins: { '@nx': nx },
    languageOptions: { parserOptions: { project: './tsconfig.test.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      ...boundaries([]),
      '@typescript-eslint/no-floating-promises': [
        'error',
        { allowForKnownSafeCalls: [{ from: 'package', package: 'node:test', name: ['test', 'it', 'describe', 'suite'] }] },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/prefer-nullish-coalescing': 'off',
    },
  },
  { files: ['**/*.test.ts'], rules: { ...boundaries(['type:testing']), '@typescript-eslint/no-non-null-assertion': 'off' } },
);
