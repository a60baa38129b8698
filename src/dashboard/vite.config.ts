import { defineConfig } from "vite";

// `npm run dev` speaks to a running instance; FLASHTRIAL_URL says where when it is not on the default port.
declare const process: { env: Record<string, string | undefined> };
const instance = process.env["FLASHTRIAL_URL"] ?? "http://127.0.0.1:8787";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../flashtrial/server/static",
    emptyOutDir: true,
    target: "es2022",
    // The page's Content-Security-Policy allows no `data:` addresses and no inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { host: "127.0.0.1", proxy: { "/api": { target: instance, changeOrigin: true } } },
});
