import pg from 'pg'
const url=process.argv[2]; const seconds=Number(process.argv[3]||10)
const u=new URL(url); const ca=(await import('fs')).readFileSync(u.searchParams.get('sslrootcert'),'utf8')
const mk=()=>{const c=new pg.Client({host:u.hostname,port:+u.port,user:u.username,password:decodeURIComponent(u.password),database:u.pathname.slice(1),ssl:{ca},connectionTimeoutMillis:3000,query_timeout:5000});c.on('error',()=>{});return c}
let c=mk(); await c.connect(); await c.query('create table if not exists probe(i bigint primary key, at timestamptz default now())'); await c.query('truncate probe')
let i=0, last=performance.now(), gap=0, gapAt=0, errs=0; const acked=[]; const t0=performance.now()
while(performance.now()-t0<seconds*1000){ i++; try{ await c.query('insert into probe(i) values($1)',[i]); const n=performance.now(); if(n-last>gap){gap=n-last;gapAt=(last-t0)|0} last=n; acked.push(i)}catch(e){errs++; console.log(((performance.now()-t0)|0)+'ms', e.message); try{await c.end()}catch{}; c=mk(); try{await c.connect()}catch(e2){console.log(((performance.now()-t0)|0)+'ms connect', e2.message)}} await new Promise(r=>setTimeout(r,5))}
const r=await c.query('select i from probe'); const have=new Set(r.rows.map(x=>+x.i)); const lost=acked.filter(x=>!have.has(x)); console.log({acked:acked.length,errs,gapMs:Math.round(gap),gapAt,lost:lost.length}); await c.end()
