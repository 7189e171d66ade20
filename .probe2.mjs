import pg from 'pg'
const url=process.argv[2]; const seconds=Number(process.argv[3]||8)
const u=new URL(url); const ca=(await import('fs')).readFileSync(u.searchParams.get('sslrootcert'),'utf8')
let ok=0, errs={}; let maxMs=0; const t0=performance.now(); const jobs=[]
while(performance.now()-t0<seconds*1000){ jobs.push((async()=>{const s=performance.now(); const c=new pg.Client({host:u.hostname,port:+u.port,user:u.username,password:decodeURIComponent(u.password),database:u.pathname.slice(1),ssl:{ca}});c.on('error',()=>{}); try{await c.connect(); await c.query('select 1'); await c.end(); ok++; maxMs=Math.max(maxMs,performance.now()-s)}catch(e){errs[e.message]=(errs[e.message]||0)+1}})()); await new Promise(r=>setTimeout(r,40))}
await Promise.all(jobs); console.log({ok,errs,maxMs:Math.round(maxMs)})
